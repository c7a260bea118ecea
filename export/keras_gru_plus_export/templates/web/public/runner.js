// A model over a signal that arrives row by row, in each of the three modes.
import { CompiledModel } from "./litert.js";
import { dequantize, quantize } from "./quantization.js";

const isState = (tensor) => tensor.name.startsWith("state_");
const size = (shape) => shape.reduce((product, side) => product * side, 1);
const ARRAYS = { float32: Float32Array, int8: Int8Array, int16: Int16Array, uint8: Uint8Array };

export class Runner {
  /**
   * @param {Uint8Array} bytes the .tflite file
   * @param {object} info model.json
   */
  static async create(bytes, info) {
    const runner = new Runner(bytes, info);
    await runner.reset();
    return runner;
  }

  constructor(bytes, info) {
    Object.assign(this, { bytes, info });
    this.input = info.inputs.find((tensor) => !isState(tensor));
    this.output = info.outputs.find((tensor) => !isState(tensor));
    this.stateTensors = info.inputs.filter(isState);
    [, this.height, this.features] = this.input.shape;
    // A whole window slides: ten results a window are enough to look at.
    this.hop = info.mode === "sequence" ? Math.max(1, Math.round(this.height / 10)) : this.height;
    this.window = new Float32Array(this.height * this.features);
    this.integers = new ARRAYS[this.input.dtype](this.window.length);
  }

  /** The beginning of a new signal. */
  async reset() {
    this.rows = 0;
    this.states = {};
    for (const tensor of this.stateTensors) {
      this.states[tensor.name] = new ARRAYS[tensor.dtype](size(tensor.shape)).fill(tensor.zero_point ?? 0);
    }
    // States that are variables inside the file can only be forgotten with it.
    if (!this.model || this.info.mode === "stateful") {
      this.model?.delete();
      this.model = await CompiledModel.compile(this.bytes, this.info);
    }
  }

  /**
   * The next row of the signal, in the channels' units.
   *
   * @returns null, or after the last row of a step or window {raw, values, microseconds}: the file's own numbers by
   *     output name, the last row of the first output as real numbers, and what the invoke took
   */
  push(row) {
    const { channels } = this.info;
    this.window.copyWithin(0, this.features);
    const start = this.window.length - this.features;
    for (let index = 0; index < this.features; index++) {
      const { mean, std } = channels[index];
      this.window[start + index] = Math.fround(row[index] - Math.fround(mean)) / Math.fround(std);
    }
    this.rows += 1;
    const ready = this.rows >= this.height && (this.rows - this.height) % this.hop === 0;
    return ready ? this.invoke() : null;
  }

  invoke() {
    const started = performance.now();
    quantize(this.window, this.input, this.integers);
    const raw = this.model.run({ ...this.states, [this.input.name]: this.integers });
    const microseconds = 1000 * (performance.now() - started);
    for (const name of Object.keys(this.states)) this.states[name] = raw[name];
    const width = this.output.shape.at(-1);
    return { raw, values: dequantize(raw[this.output.name].slice(-width), this.output), microseconds };
  }
}
