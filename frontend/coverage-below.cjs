// A coverage report that names the modules of which too few lines were run: `npm run coverage`.
const { ReportBase } = require("istanbul-lib-report");

module.exports = class extends ReportBase {
  constructor({ enough }) {
    super();
    this.enough = enough;
    this.below = [];
  }

  onDetail(node) {
    const { pct, covered, total } = node.getCoverageSummary().lines;
    if (total > 0 && pct < this.enough)
      this.below.push([pct, `${node.getQualifiedName()}: ${covered} of ${total} lines`]);
  }

  onEnd() {
    this.below.sort(([a], [b]) => a - b);
    console.log(`\nModules below ${this.enough} % of lines: ${this.below.length}`);
    for (const [pct, text] of this.below) console.log(`${pct.toFixed(0).padStart(5)} %  ${text}`);
  }
};
