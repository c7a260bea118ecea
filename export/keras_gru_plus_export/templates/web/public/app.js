// The page: a recording or the device's own motion through the model, and what comes out.
import { SignalChart, drawHistogram } from "./charts.js";
import { Latency, clockStep, format } from "./latency.js";
import { build, load } from "./litert.js";
import { Motion, unavailable } from "./motion.js";
import { range } from "./quantization.js";
import { Runner } from "./runner.js";

const SECONDS = 8;
const $ = (id) => document.getElementById(id);

class Page {
  constructor(info, runner, recording) {
    Object.assign(this, { info, runner, recording });
    this.chart = new SignalChart($("signal"), info, SECONDS);
    this.latency = new Latency();
    this.motion = null;
    this.playing = false;
    this.position = 0;
    this.result = null;
    this.makeBars();
  }

  get rows() {
    return this.recording.length / this.runner.features;
  }

  row(index) {
    const { features } = this.runner;
    return this.recording.subarray(index * features, (index + 1) * features);
  }

  /** What the recording says it is at a row. */
  label(index) {
    const segments = this.info.recording.segments ?? [];
    return segments.findLast(({ start }) => start <= index)?.label ?? null;
  }

  name(index) {
    const { labels } = this.info;
    return labels ? labels[index] : this.result.values.length > 1 ? `${this.runner.output.name} ${index}` : null;
  }

  makeBars() {
    const count = this.info.labels?.length ?? this.runner.output.shape.at(-1);
    this.bars = Array.from({ length: Math.min(count, 24) }, (_, index) => {
      const item = document.createElement("li");
      const name = document.createElement("span");
      const value = document.createElement("output");
      const track = document.createElement("div");
      const bar = document.createElement("div");
      name.textContent = this.info.labels?.[index] ?? `${this.runner.output.name} ${index}`;
      track.className = "track";
      bar.className = "bar";
      track.append(bar);
      item.append(name, value, track);
      $("bars").append(item);
      return { item, value, bar };
    });
  }

  async reset() {
    this.position = 0;
    this.result = null;
    this.chart.clear();
    await this.runner.reset();
  }

  /** The next row of the signal. */
  push(row, label = null) {
    const result = this.runner.push(row);
    this.chart.addRow(row, label);
    if (!result) return null;
    this.result = result;
    this.latency.add(result.microseconds);
    const best = result.values.indexOf(Math.max(...result.values));
    this.chart.addClass(this.name(best));
    return result;
  }

  /** Plays until the recording ends or something stops it. */
  async play() {
    if (this.playing) {
      this.playing = false;
      return;
    }
    this.stopLive();
    if (this.position >= this.rows || !this.position) await this.reset();
    this.playing = true;
    show("Pause");
    let last = performance.now();
    let due = 0;
    const frame = (now) => {
      // A page that was hidden goes on where it was.
      due += Math.min(0.25, Math.max(0, now - last) / 1000) * this.info.rate;
      last = now;
      for (; due >= 1 && this.position < this.rows && this.playing; due--) {
        this.push(this.row(this.position), this.label(this.position));
        this.position += 1;
      }
      this.draw();
      if (this.position >= this.rows) this.playing = false;
      if (this.playing) requestAnimationFrame(frame);
      else show("Play");
    };
    requestAnimationFrame(frame);
  }

  /**
   * The whole recording as fast as it goes.
   *
   * @returns {Promise<Object<string, number[][]>>} the file's own numbers by output name, a list for each invoke
   */
  async measure() {
    this.playing = false;
    this.stopLive();
    enable(false);
    await this.reset();
    this.latency = new Latency(this.rows);
    const found = Object.fromEntries(this.info.outputs.map(({ name }) => [name, []]));
    for (; this.position < this.rows; this.position++) {
      const result = this.push(this.row(this.position), this.label(this.position));
      for (const [name, values] of Object.entries(result?.raw ?? {})) found[name].push(Array.from(values));
      if (this.position % 100 === 99) {
        this.draw();
        await new Promise(requestAnimationFrame);
      }
    }
    this.draw();
    enable(true);
    return found;
  }

  /** The device's own motion, or back to the recording. */
  async live() {
    if (this.motion) {
      this.stopLive();
      await this.reset();
      this.draw();
      return;
    }
    this.playing = false;
    const motion = new Motion(this.info, (row) => this.push(row), (message) => this.fail(message));
    try {
      await motion.start();
    } catch (error) {
      this.fail(error.message);
      return;
    }
    await this.reset();
    this.motion = motion;
    hint("");
    $("live").textContent = "Recording";
    $("source").textContent = "Live motion";
    const frame = () => {
      this.draw();
      if (this.motion === motion) requestAnimationFrame(frame);
    };
    frame();
  }

  stopLive() {
    this.motion?.stop();
    if (this.motion) this.position = 0;
    this.motion = null;
    $("live").textContent = "Live";
    $("source").textContent = this.info.recording.title;
  }

  fail(message) {
    this.stopLive();
    hint(message);
  }

  draw() {
    this.chart.draw();
    this.drawOutput();
    this.drawLatency();
    $("position").value = this.position / this.rows;
  }

  drawOutput() {
    const { values } = this.result ?? { values: [] };
    const best = values.indexOf(Math.max(...values));
    $("answer").textContent = this.result ? (this.name(best) ?? values[0].toPrecision(3)) : "–";
    const [low, high] = range(this.runner.output) ?? [Math.min(0, ...values), Math.max(1, ...values)];
    this.bars.forEach(({ item, value, bar }, index) => {
      const number = values[index];
      item.className = index === best ? "first" : "";
      value.textContent = number === undefined ? "" : this.info.labels ? `${(100 * number).toFixed(0)} %` : number.toPrecision(3);
      const share = number === undefined ? 0 : (number - low) / (high - low);
      bar.style.transform = `scaleX(${Math.min(1, Math.max(0, share))})`;
    });
  }

  drawLatency() {
    const { latency } = this;
    const figures = {
      median: format(latency.percentile(0.5)),
      "95 %": format(latency.percentile(0.95)),
      "99 %": format(latency.percentile(0.99)),
    };
    $("figures").replaceChildren(
      ...Object.entries(figures).map(([name, value]) => {
        const pair = document.createElement("div");
        const term = document.createElement("dt");
        const figure = document.createElement("dd");
        term.textContent = name;
        figure.textContent = value;
        pair.append(term, figure);
        return pair;
      }),
    );
    drawHistogram($("histogram"), latency.values, format);
  }
}

function enable(yes) {
  for (const id of ["play", "measure", "live"]) $(id).disabled = !yes;
}

function show(play) {
  $("play").textContent = play;
}

function hint(text) {
  $("hint").textContent = text;
  $("hint").hidden = !text;
}

function facts({ mode, inputs, bytes, rate, title }) {
  document.title = title;
  $("title").textContent = title;
  const input = inputs.find(({ name }) => !name.startsWith("state_"));
  const texts = [`mode ${mode}`, input.dtype, `${(bytes / 1000).toFixed(1)} kB`, `${rate} Hz`];
  $("facts").replaceChildren(
    ...texts.map((text) => Object.assign(document.createElement("li"), { textContent: text })),
  );
}

async function keepOffline() {
  if (!("serviceWorker" in navigator)) return "needs a network (no https)";
  const address = `sw.js?build=${await build()}`;
  await navigator.serviceWorker.register(address);
  await navigator.serviceWorker.ready;
  return "works offline";
}

async function fetched(name) {
  const response = await fetch(name);
  if (!response.ok) throw new Error(`Expected ${name} beside the page, got ${response.status}; export it again.`);
  return response;
}

async function main() {
  const started = performance.now();
  const info = await (await fetched("model.json")).json();
  facts(info);
  const [bytes, samples, name] = await Promise.all([
    fetched(info.file).then((response) => response.arrayBuffer()),
    fetched(info.recording.file).then((response) => response.arrayBuffer()),
    load().catch((error) => {
      throw new Error(`LiteRT.js did not load (${error.message ?? "no litert/"}); run npm install.`);
    }),
  ]);
  const runner = await Runner.create(new Uint8Array(bytes), info);
  const page = new Page(info, runner, new Float32Array(samples));
  $("source").textContent = info.recording.title;
  $("output").textContent = info.labels ? "Class" : "Output";
  $("status").textContent = `ready in ${((performance.now() - started) / 1000).toFixed(1)} s`;
  $("runtime").textContent = `LiteRT.js 2.5.3, ${name.includes("compat") ? "SIMD" : "relaxed SIMD"}, one thread. ${info.recording.note ?? ""}`;
  const step = clockStep();
  $("clock").textContent = `With the input's quantization; this page's clock has steps of ${format(step)}.`;
  const reason = unavailable(info.channels);
  $("live").hidden = reason !== null;
  $("play").addEventListener("click", () => page.play());
  $("measure").addEventListener("click", () => page.measure());
  $("live").addEventListener("click", () => page.live());
  enable(true);
  addEventListener("resize", () => page.draw());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => page.draw());
  page.draw();
  // For the browser's console, and for tests: `await page.measure()` gives the file's own numbers.
  globalThis.page = page;
  $("status").textContent += `, ${await keepOffline().catch((error) => `needs a network (${error.message})`)}`;
}

main().catch((error) => {
  $("status").textContent = error.message;
  $("status").className = "failed";
  console.error(error);
});
