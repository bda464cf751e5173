/** Pointer, wheel and fingers on the plot, as zooms, pans, clicks and points. */

export interface GestureHost {
  point(x: number, y: number): void;
  leave(): void;
  click(x: number, y: number): void;
  enter(x: number, y: number): void;
  zoom(factor: number, x: number, y: number): void;
  /** False where there is nothing to pan to. */
  pan(dx: number, dy: number): boolean;
  /** To a place on the small map. `held`: it was taken hold of there. False where it is not on the map. */
  jump(x: number, y: number, held: boolean): boolean;
}

const SLOP = 4; // px that a click may wander

export function gestures(element: HTMLElement, host: GestureHost): void {
  const down = new Map<number, { x: number; y: number }>();
  let travelled = 0;
  let onMap = false;
  const place = (event: MouseEvent) => {
    const { left, top } = element.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  };
  element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const at = place(event);
    if (!down.size) {
      travelled = 0;
      onMap = host.jump(at.x, at.y, false);
    }
    down.set(event.pointerId, at);
    element.setPointerCapture(event.pointerId);
  });
  element.addEventListener("pointermove", (event) => {
    const now = place(event);
    const before = down.get(event.pointerId);
    if (!before) {
      if (event.pointerType !== "touch") host.point(now.x, now.y);
      return;
    }
    const [dx, dy] = [now.x - before.x, now.y - before.y];
    travelled += Math.hypot(dx, dy);
    down.set(event.pointerId, now);
    if (onMap) {
      host.jump(now.x, now.y, true);
      return;
    }
    if (down.size === 2) {
      const [other] = [...down].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
      const reach = (at: { x: number; y: number }) => Math.max(8, Math.hypot(at.x - other.x, at.y - other.y));
      host.zoom(reach(now) / reach(before), (now.x + other.x) / 2, (now.y + other.y) / 2);
      host.pan(-dx / 2, -dy / 2);
    } else if (travelled > SLOP) host.pan(-dx, -dy);
    else if (event.pointerType !== "touch") host.point(now.x, now.y);
  });
  const up = (event: PointerEvent, click: boolean) => {
    const at = down.get(event.pointerId);
    const last = down.size === 1;
    down.delete(event.pointerId);
    if (at && click && last && travelled <= SLOP && !onMap) {
      host.point(at.x, at.y);
      host.click(at.x, at.y);
    }
  };
  element.addEventListener("pointerup", (event) => up(event, true));
  element.addEventListener("pointercancel", (event) => up(event, false));
  element.addEventListener("pointerleave", () => {
    if (!down.size) host.leave();
  });
  element.addEventListener("dblclick", (event) => {
    const { x, y } = place(event);
    host.enter(x, y);
  });
  element.addEventListener(
    "wheel",
    (event) => {
      const { x, y } = place(event);
      const unit = event.deltaMode === 1 ? 20 : 1;
      if (event.ctrlKey || event.metaKey) {
        event.preventDefault();
        host.zoom(Math.exp(-Math.max(-60, Math.min(60, event.deltaY * unit)) * 0.008), x, y);
        return;
      }
      const [dx, dy] = event.shiftKey ? [event.deltaY, event.deltaX] : [event.deltaX, event.deltaY];
      if (host.pan(dx * unit, dy * unit)) event.preventDefault();
    },
    { passive: false },
  );
}
