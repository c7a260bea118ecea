// Drawing on canvases: the signal with what the model made of it, and latencies.

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const GAP = 14;
const RIBBON = 20;
const CAPTION = 40;

/** The canvas at the screen's own resolution. */
function prepared(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = `11px ${style("--font")}`;
  return { context, width, height };
}

/** A round number that is at least `value`. */
function rounded(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 3, 5, 7.5, 10].find((factor) => factor * power >= value * 0.999) * power;
}

export const colour = (index) => style(`--series-${1 + (index % 6)}`);

/** Channels of the same unit share a plot. */
export function grouped(channels) {
  const groups = new Map();
  channels.forEach(({ unit }, index) => groups.set(unit, [...(groups.get(unit) ?? []), index]));
  return [...groups].map(([unit, indices]) => ({ unit, indices }));
}

export class SignalChart {
  constructor(canvas, info, seconds) {
    Object.assign(this, { canvas, info });
    this.groups = grouped(info.channels);
    this.length = Math.round(seconds * info.rate);
    this.clear();
  }

  clear() {
    this.rows = [];
    this.ribbons = { model: [], label: [] };
    this.count = 0;
  }

  /** @param {string|null} label what the recording says it is */
  addRow(row, label) {
    this.rows.push(row);
    this.count += 1;
    this.extend("label", label);
    if (this.rows.length > 2 * this.length) this.rows = this.rows.slice(-this.length);
  }

  /** The model's class for the row that was added last. */
  addClass(name) {
    this.extend("model", name);
  }

  extend(ribbon, name) {
    const parts = this.ribbons[ribbon];
    const last = parts.at(-1);
    if (last?.name === name) last.end = this.count;
    else parts.push({ name, start: last?.end ?? this.count - 1, end: this.count });
    if (parts.length > 400) parts.splice(0, 200);
  }

  draw() {
    const { context, width, height } = prepared(this.canvas);
    const ribbons = Object.entries(this.ribbons).filter(([, parts]) => parts.some(({ name }) => name !== null));
    const room = height - 18 - ribbons.length * (RIBBON + 4);
    const each = (room - GAP * (this.groups.length - 1)) / this.groups.length;
    const first = Math.max(0, this.count - this.length);
    const x = (position) => ((position - first) / this.length) * width;
    this.drawTime(context, width, room, first, x);
    this.groups.forEach((group, place) => this.drawGroup(context, width, group, place * (each + GAP), each, x));
    ribbons.forEach(([name, parts], place) => {
      const top = room + 18 + place * (RIBBON + 4);
      this.drawRibbon(context, name, parts, first, x, top, width);
    });
  }

  drawTime(context, width, room, first, x) {
    const { rate } = this.info;
    context.textAlign = "center";
    context.textBaseline = "top";
    for (let second = Math.ceil(first / rate); second * rate <= first + this.length; second++) {
      const place = Math.round(x(second * rate)) + 0.5;
      context.fillStyle = style("--line");
      context.fillRect(place, 0, 1, room);
      if (second % 2 === 0 && place > 14 && place < width - 14) {
        context.fillStyle = style("--muted");
        context.fillText(`${second} s`, place, room + 3);
      }
    }
  }

  drawGroup(context, width, { unit, indices }, top, height, x) {
    const begin = Math.max(0, this.rows.length - this.length);
    let peak = 1e-3;
    for (let i = begin; i < this.rows.length; i++) {
      for (const index of indices) peak = Math.max(peak, Math.abs(this.rows[i][index]));
    }
    const limit = rounded(1.15 * peak);
    const y = (value) => top + height / 2 - (value / limit) * (height / 2 - 2);
    context.strokeStyle = style("--line");
    context.lineWidth = 1;
    context.strokeRect(0.5, Math.round(top) + 0.5, width - 1, Math.round(height) - 1);
    context.fillStyle = style("--line");
    context.fillRect(0, Math.round(y(0)), width, 1);
    context.lineWidth = 1.5;
    context.lineJoin = "round";
    const offset = this.count - this.rows.length;
    indices.forEach((index, place) => {
      context.strokeStyle = colour(place);
      context.beginPath();
      for (let i = begin; i < this.rows.length; i++) context.lineTo(x(offset + i), y(this.rows[i][index]));
      context.stroke();
    });
    context.textBaseline = "top";
    context.textAlign = "right";
    context.fillStyle = style("--muted");
    context.fillText(`±${limit} ${unit}`, width - 6, top + 5);
    context.textAlign = "left";
    let left = 7;
    indices.forEach((index, place) => {
      const { name } = this.info.channels[index];
      context.fillStyle = colour(place);
      context.fillText(name, left, top + 5);
      left += context.measureText(name).width + 8;
    });
  }

  drawRibbon(context, title, parts, first, x, top, width) {
    const names = this.info.labels ?? [];
    context.textBaseline = "middle";
    context.textAlign = "left";
    for (const { name, start, end } of parts) {
      if (end <= first || name === null) continue;
      const from = Math.max(0, x(start));
      const to = Math.min(width, x(end));
      context.fillStyle = style(`--class-${1 + (Math.max(0, names.indexOf(name)) % 8)}`);
      context.fillRect(from, top, Math.max(1, to - from - 1), RIBBON);
      context.fillStyle = style("--text");
      const left = Math.max(from, CAPTION);
      if (context.measureText(name).width < to - left - 12) {
        context.fillText(name, left + 6, top + RIBBON / 2 + 0.5);
      }
    }
    context.fillStyle = style("--card");
    context.fillRect(0, top, CAPTION, RIBBON);
    context.fillStyle = style("--muted");
    context.fillText(title, 0, top + RIBBON / 2 + 0.5);
  }
}

/** Latencies in µs as a histogram on a logarithmic axis, whose ends are written below it. */
export function drawHistogram(canvas, values, format) {
  const { context, width, height } = prepared(canvas);
  if (!values.length) return;
  const room = height - 16;
  const sorted = [...values].sort((a, b) => a - b);
  const low = Math.log10(Math.max(1, sorted[0]));
  const high = Math.max(low + 0.5, Math.log10(Math.max(1, sorted[Math.floor(0.995 * (sorted.length - 1))])));
  const bins = new Array(40).fill(0);
  for (const value of sorted) {
    const place = Math.floor(((Math.log10(Math.max(1, value)) - low) / (high - low)) * bins.length);
    bins[Math.min(bins.length - 1, Math.max(0, place))] += 1;
  }
  const most = Math.max(...bins);
  context.fillStyle = style("--accent");
  bins.forEach((count, index) => {
    const tall = count ? Math.max(1.5, (count / most) * (room - 2)) : 0;
    context.fillRect((index * width) / bins.length, room - tall, width / bins.length - 1.5, tall);
  });
  context.fillStyle = style("--line");
  context.fillRect(0, room - 1, width, 1);
  context.fillStyle = style("--muted");
  context.textBaseline = "bottom";
  context.textAlign = "left";
  context.fillText(format(10 ** low), 0, height);
  context.textAlign = "right";
  context.fillText(format(10 ** high), width, height);
}
