// A model in LiteRT.js with inputs and outputs of any type.
//
// LiteRT.js 2.5.3 refuses int8 in `loadAndCompile` and `Tensor` ("Element type INT8 is not supported"), not in the
// WebAssembly underneath, whose bindings it declares in its types: those are used here. The version is pinned in
// package.json for that reason.
import { LiteRt, supportsFeature } from "@litertjs/core";
import { createWasmLib } from "@litertjs/wasm-utils";

const ARRAYS = { float32: Float32Array, int8: Int8Array, int16: Int16Array, int32: Int32Array, uint8: Uint8Array };

let wasm = null;
let environment = null;

/** Name of the WebAssembly build that LiteRT.js chooses in this browser for one thread. */
export async function build() {
  return (await supportsFeature("relaxedSimd")) ? "litert_wasm_internal" : "litert_wasm_compat_internal";
}

/** Loads the WebAssembly once, without the GPU device that `loadLiteRt` asks for. */
export async function load() {
  const name = await build();
  // What it says of itself is on stderr, informal or not.
  globalThis.Module = { printErr: (line) => (/^(INFO|WARNING)/.test(line) ? console.debug : console.error)(line) };
  const script = new URL(`litert/wasm/${name}.js`, document.baseURI).href;
  wasm = (await createWasmLib(LiteRt, script)).liteRtWasm;
  environment = wasm.LiteRtEnvironment.create(null);
  return name;
}

export class CompiledModel {
  /**
   * @param {Uint8Array} bytes the .tflite file
   * @param {{inputs: object[], outputs: object[]}} info name, shape and dtype of each, as in model.json
   */
  static async compile(bytes, info) {
    const pointer = wasm._malloc(bytes.length);
    wasm.HEAPU8.set(bytes, pointer);
    const model = wasm.loadModel(environment, pointer, bytes.length);
    const options = { accelerator: "wasm", cpuOptions: { numThreads: 1 }, gpuOptions: {}, webNNOptions: {} };
    const compiled = await wasm.compileModel(environment, model, options);
    return new CompiledModel(pointer, model, compiled, info);
  }

  constructor(pointer, model, compiled, info) {
    Object.assign(this, { pointer, model, compiled });
    const signature = model.getSignature(0);
    this.inputs = names(signature.inputNames()).map((name, index) => {
      const { dtype } = described(info.inputs, name);
      const type = model.getInputTensorType(0, index);
      const bytes = type.bytes();
      const buffer = wasm.LiteRtTensorBuffer.createManaged(
        environment,
        wasm.LiteRtTensorBufferType.HOST_MEMORY,
        type,
        bytes,
      );
      type.delete();
      return { name, buffer, bytes, array: ARRAYS[dtype] };
    });
    this.outputs = names(signature.outputNames()).map((name) => ({
      name,
      array: ARRAYS[described(info.outputs, name).dtype],
    }));
    signature.delete();
    this.buffers = this.inputs.map((input) => input.buffer);
  }

  /**
   * One invoke, at once.
   *
   * @param {Object<string, ArrayBufferView>} values typed arrays by input name, in the file's types
   * @returns {Object<string, ArrayBufferView>} typed arrays by output name, likewise
   */
  run(values) {
    const { READ, WRITE } = wasm.LiteRtTensorBufferLockMode;
    for (const { name, buffer, bytes, array } of this.inputs) {
      const value = values[name];
      if (!(value instanceof array) || value.byteLength !== bytes) {
        throw new Error(`Expected ${name} to be a ${array.name} of ${bytes} bytes, got ${value}`);
      }
      const target = buffer.lock(WRITE);
      // HEAPU8 is another array after the memory has grown.
      wasm.HEAPU8.set(new Uint8Array(value.buffer, value.byteOffset, bytes), target);
      buffer.unlock();
    }
    const found = {};
    this.compiled.run(0, this.buffers).forEach((buffer, index) => {
      const { name, array } = this.outputs[index];
      const source = buffer.lock(READ);
      found[name] = new array(wasm.HEAPU8.slice(source, source + buffer.packedSize()).buffer);
      buffer.unlock();
      buffer.delete();
    });
    return found;
  }

  delete() {
    for (const buffer of this.buffers) buffer.delete();
    this.compiled.delete();
    this.model.delete();
    wasm._free(this.pointer);
  }
}

function names(vector) {
  const found = Array.from({ length: vector.size() }, (_, index) => vector.get(index));
  vector.delete();
  return found;
}

function described(tensors, name) {
  const found = tensors.find((tensor) => tensor.name === name);
  if (!found || !ARRAYS[found.dtype]) throw new Error(`Expected ${name} in model.json with a type that is known here`);
  return found;
}
