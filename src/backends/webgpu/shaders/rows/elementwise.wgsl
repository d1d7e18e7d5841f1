// Element by element: out (T, C) of x (T, C) and y, which only some operations read: (T, C), for mulColumns (C).
// Grid: (C / 64, T).

struct Params {
  T: u32,
  C: u32,
  factor: f32,      // for mulScalar
  xOffset: u32,
  xStride: u32,
  yOffset: u32,
  yStride: u32,
  outOffset: u32,
  outStride: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

#include "element"
#include "mlp-activation"

fn yOf(t: u32, c: u32) -> f32 { return y[params.yOffset + t * params.yStride + c]; }

fn element(t: u32, c: u32) {
  let a = x[params.xOffset + t * params.xStride + c];
#if OPERATION == add
  let result = a + yOf(t, c);
#endif
#if OPERATION == mulScalar
  let result = params.factor * a;
#endif
#if OPERATION == mulColumns
  let result = a * y[params.yOffset + c * params.yStride];
#endif
#if OPERATION == activate
  let result = activate(a);
#endif
#if OPERATION == activateAndMul
  let result = activate(yOf(t, c)) * a;
#endif
  out[params.outOffset + t * params.outStride + c] = result;
}
