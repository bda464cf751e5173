/** A list of lines of one height, of which only those in sight are in the document; elements are reused. */
import { AfterFrame } from "./dom";

const SPARE = 3; // lines drawn beyond each edge of what is in sight
const WHOLE = 48; // as many are drawn whether in sight or not
const MOST = 140; // where nothing scrolls, as in a frame as long as its content

export interface ListRow {
  readonly element: HTMLElement;
}

export interface ListHost<Row> {
  make(): Row;
  fill(row: Row, index: number, top: number): void;
  /** The row shows this line already, if not as it is now. */
  has(row: Row, index: number): boolean;
}

export class VirtualList<Row extends ListRow> {
  private count = 0;
  private range = { first: 0, last: 30 };
  private late = false;
  private readonly pool: Row[] = [];
  private readonly used = new Map<number, Row>();
  private readonly afterFrame = new AfterFrame();

  constructor(
    private readonly body: HTMLElement,
    private readonly height: number,
    private readonly host: ListHost<Row>,
  ) {}

  /** All lines are new, or changed. Those out of sight that are drawn already wait until the frame is shown. */
  draw(count: number): void {
    this.count = count;
    this.body.style.height = `${count * this.height}px`;
    this.fill(true);
  }

  /** `top` and `bottom`: what is in sight, in pixels below the first line's top. */
  look(top: number, bottom: number): void {
    const first = Math.max(0, Math.floor(top / this.height) - SPARE);
    const last = Math.min(Math.ceil(bottom / this.height) + SPARE, first + MOST);
    if (first === this.range.first && last === this.range.last) return;
    this.range = { first, last: Math.max(last, first) };
    if (this.late || this.count > WHOLE) this.fill(false);
  }

  /** The row of a line, where it is drawn. */
  row(index: number): Row | undefined {
    return this.used.get(index);
  }

  destroy(): void {
    this.afterFrame.cancel();
  }

  private fill(defer: boolean): void {
    const { count, range, used, host } = this;
    const whole = count <= WHOLE;
    const last = whole ? count : Math.min(count, range.last);
    const first = whole ? 0 : Math.min(range.first, Math.max(0, last - 1));
    for (const [index, row] of used) {
      if (index >= first && index < last) continue;
      used.delete(index);
      row.element.remove();
      this.pool.push(row);
    }
    let late = false;
    for (let index = first; index < last; index++) {
      let row = used.get(index);
      if (defer && row && host.has(row, index) && (index < range.first || index >= range.last)) {
        late = true;
        continue;
      }
      if (!row) {
        row = this.pool.pop() ?? host.make();
        this.body.append(row.element);
        used.set(index, row);
      }
      host.fill(row, index, index * this.height);
    }
    this.late = late;
    if (late) this.afterFrame.run(() => this.fill(false));
  }
}
