// Real numbers to a file's numbers and back, exactly as keras_gru_plus.runtime does.
//
// `scale` and `zero_point` are one number, with which quotients are rounded to float32, or a list with one for each feature
// (the last axis), whose zero points may be far outside of the type: then they keep all digits.

const LIMITS = { int8: [-128, 127], uint8: [0, 255], int16: [-32768, 32767] };

const at = (value, index) => (Array.isArray(value) ? value[index % value.length] : value);

/** The least and the greatest real number that a tensor can hold; null for floats. */
export function range({ dtype, scale, zero_point: zeroPoint }) {
  if (!LIMITS[dtype] || scale === null) return null;
  return LIMITS[dtype].map((limit) => at(scale, 0) * (limit - at(zeroPoint, 0)));
}

/** Writes `values` into `target`, integers by rounding halves away from zero and saturating; floats as they are. */
export function quantize(values, tensor, target) {
  if (tensor.scale === null) {
    target.set(values);
    return target;
  }
  const [low, high] = LIMITS[tensor.dtype];
  const far = [tensor.zero_point].flat().some((point) => point < low || point > high);
  const fit = far || Array.isArray(tensor.scale) ? Number : Math.fround;
  for (let index = 0; index < values.length; index++) {
    const ratio = fit(values[index] / Math.fround(at(tensor.scale, index)));
    const rounded = Math.trunc(ratio + (ratio < 0 ? -0.5 : 0.5)) + at(tensor.zero_point, index);
    target[index] = Math.min(high, Math.max(low, rounded));
  }
  return target;
}

/** Real numbers, float32. */
export function dequantize(values, { scale, zero_point: zeroPoint }) {
  if (scale === null) return Float32Array.from(values);
  return Float32Array.from(values, (value, index) => at(scale, index) * (value - at(zeroPoint, index)));
}
