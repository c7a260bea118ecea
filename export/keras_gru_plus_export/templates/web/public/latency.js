// What invokes take.

export class Latency {
  constructor(keep = 2000) {
    this.keep = keep;
    this.values = [];
    this.count = 0;
  }

  add(microseconds) {
    this.values.push(microseconds);
    this.count += 1;
    if (this.values.length > 2 * this.keep) this.values = this.values.slice(-this.keep);
  }

  /** The value that a share of the last invokes did not exceed, in µs. */
  percentile(share) {
    const sorted = this.values.slice(-this.keep).sort((a, b) => a - b);
    return sorted.length ? sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] : null;
  }
}

export function format(microseconds) {
  if (microseconds === null) return "–";
  return microseconds < 1000 ? `${Math.round(microseconds)} µs` : `${(microseconds / 1000).toPrecision(3)} ms`;
}

/** The smallest step of this page's clock in µs: browsers make it coarse unless the page is isolated. */
export function clockStep() {
  let least = Infinity;
  const end = performance.now() + 20;
  for (let last = performance.now(); last < end; ) {
    const now = performance.now();
    if (now > last) least = Math.min(least, now - last);
    last = now;
  }
  return 1000 * least;
}
