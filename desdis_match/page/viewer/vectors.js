// Vectors of three numbers.

const V = {
  add: (a, b) => a.map((v, k) => v + b[k]),
  sub: (a, b) => a.map((v, k) => v - b[k]),
  mul: (a, s) => a.map((v) => v * s),
  mix: (a, b, t) => a.map((v, k) => v + (b[k] - v) * t),
  dot: (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2],
  cross: (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]],
  length: (a) => Math.hypot(...a),
  unit: (a) => V.mul(a, 1 / (Math.hypot(...a) || 1)),
};

// The value below which a share of numbers lies.
function quantile(values, share) {
  const sorted = Float64Array.from(values).sort();
  return sorted.length ? sorted[Math.round(share * (sorted.length - 1))] : 0;
}

// The largest of 1, 2, 5, 10, ... that is at most x.
function niceLength(x) {
  const ten = Math.pow(10, Math.floor(Math.log10(x)));
  return [5, 2, 1].map((step) => step * ten).find((step) => step <= x) || ten;
}
