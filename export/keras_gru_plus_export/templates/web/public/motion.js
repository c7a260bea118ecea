// The device's own accelerometer and gyroscope, at the model's rate.

const GRAVITY = 9.80665; // m/s² in a g
const DEGREE = Math.PI / 180;

/** What a devicemotion event says, by channel name and unit; a device without the sensor says null. */
const READINGS = {
  "ax g": ({ accelerationIncludingGravity: a }) => scaled(a?.x, 1 / GRAVITY),
  "ay g": ({ accelerationIncludingGravity: a }) => scaled(a?.y, 1 / GRAVITY),
  "az g": ({ accelerationIncludingGravity: a }) => scaled(a?.z, 1 / GRAVITY),
  "wx rad/s": ({ rotationRate: w }) => scaled(w?.alpha, DEGREE),
  "wy rad/s": ({ rotationRate: w }) => scaled(w?.beta, DEGREE),
  "wz rad/s": ({ rotationRate: w }) => scaled(w?.gamma, DEGREE),
};

const scaled = (value, factor) => (value == null ? NaN : value * factor);

/** Why there can be no live motion here; null if there can. */
export function unavailable(channels) {
  const foreign = channels.filter(({ name, unit }) => !READINGS[`${name} ${unit}`]);
  if (foreign.length) return "This model's channels are not those of a phone's motion sensors.";
  if (!globalThis.isSecureContext) return "Live motion needs https or localhost.";
  return "DeviceMotionEvent" in globalThis ? null : "This browser has no motion sensors.";
}

/** Rows at irregular times to rows at a fixed rate, by straight lines between them. */
export class Resampler {
  constructor(rate) {
    this.period = 1000 / rate;
    this.last = null;
  }

  /** @returns rows that are due up to `time` in ms */
  push(time, row) {
    const rows = [];
    // After a pause (a hidden page) there is nothing to draw a line through.
    if (this.last === null || time - this.last.time > 500) {
      this.due = time;
    }
    const { time: before, row: from } = this.last ?? { time, row };
    if (time < before) return rows;
    for (; this.due <= time; this.due += this.period) {
      const share = time === before ? 1 : Math.max(0, (this.due - before) / (time - before));
      rows.push(row.map((value, index) => from[index] + share * (value - from[index])));
    }
    this.last = { time, row };
    return rows;
  }
}

export class Motion {
  /** @param {(row: number[]) => void} onRow @param {(message: string) => void} onSilence */
  constructor({ channels, rate }, onRow, onSilence) {
    const readings = channels.map(({ name, unit }) => READINGS[`${name} ${unit}`]);
    this.onSilence = onSilence;
    this.listener = (event) => {
      const row = readings.map((read) => read(event));
      if (!row.every(Number.isFinite)) return;
      clearTimeout(this.timer);
      this.resampler.push(event.timeStamp, row).forEach(onRow);
    };
    this.rate = rate;
  }

  /** Must be called from a click: iOS asks the user. */
  async start() {
    const answer = (await DeviceMotionEvent.requestPermission?.()) ?? "granted";
    if (answer !== "granted") throw new Error("Motion was not allowed.");
    this.resampler = new Resampler(this.rate);
    addEventListener("devicemotion", this.listener);
    this.timer = setTimeout(() => this.onSilence("This device reports no motion."), 1500);
  }

  stop() {
    clearTimeout(this.timer);
    removeEventListener("devicemotion", this.listener);
  }
}
