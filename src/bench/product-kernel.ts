import {
  BR_IF,
  END,
  functionModule,
  I32,
  I32_ADD,
  I32_LT_U,
  i32Const,
  LOCAL_GET,
  LOCAL_SET,
  LOCAL_TEE,
  LOOP,
  simd,
  unsignedLeb,
  V128,
} from './wasm-encoding.ts';

/** How products are summed: with which instructions, and how many of them one instruction's worth holds. */
export const PRODUCT_INSTRUCTIONS = {
  /** `f32x4.relaxed_madd`, which is fused where the processor can. */
  fusedFloat32: { products: 4, add: (sum: number[], w: number[], x: number[]) => [...w, ...x, ...sum, ...simd(0x105)] },
  /** `f32x4.mul` and `f32x4.add`: some processors do as many of these as of fused ones. */
  float32: { products: 4, add: (sum: number[], w: number[], x: number[]) => [...sum, ...w, ...x, ...MUL_ADD] },
  /** `i32x4.relaxed_dot_i8x16_i7x16_add_s` */
  int8: { products: 16, add: (sum: number[], w: number[], x: number[]) => [...w, ...x, ...sum, ...simd(0x113)] },
  /** `i32x4.dot_i16x8_s` and `i32x4.add`: the quickest products of integers without relaxed SIMD. */
  int16: { products: 8, add: (sum: number[], w: number[], x: number[]) => [...sum, ...w, ...x, ...DOT_ADD] },
} as const;

export type ProductKind = keyof typeof PRODUCT_INSTRUCTIONS;

const V128_LOAD = simd(0x00);
const V128_LOAD32_SPLAT = simd(0x09);
const V128_STORE = simd(0x0b);
const I32_SUB = 0x6b;
const MUL_ADD = [...simd(0xe6), ...simd(0xe4)];
const DOT_ADD = [...simd(0xba), ...simd(0xae)];

/** Steps of the inner loop. What they read, some 30 KB, stays in the first-level cache. */
export const STEPS = 256;
/** Bytes from one row to the next. */
const ROW_BYTES = 4 * STEPS;

/** What the kernel exports. */
export interface ProductKernel {
  /**
   * Goes `times` times over the same rows and weights.
   * @param x rows of {@link STEPS} * 4 bytes, one after another. @param w STEPS * vectors * 16 bytes.
   * @param out rows * vectors * 16 bytes for the sums. @param times at least 1.
   */
  multiply(x: number, w: number, out: number, times: number): void;
}

/**
 * The machine code of a module that multiplies and adds as a matrix product does that always finds its operands in the
 * first-level cache: per step, `vectors` vectors of weights times one splat value of each of `rows` rows. In its text
 * form, with a sum for each pair of row and vector:
 *
 *     (func (export "multiply") (param $x i32) (param $w i32) (param $out i32) (param $times i32)
 *       (loop
 *         (local.set $at (local.get $x)) (local.set $weights (local.get $w))
 *         (loop
 *           (local.set $w0 (v128.load offset=0 (local.get $weights))) …
 *           (local.set $x0 (v128.load32_splat offset=0 (local.get $at)))
 *           (local.set $a00 (f32x4.add (local.get $a00) (f32x4.mul (local.get $w0) (local.get $x0)))) …
 *           … to the next weights and values, until those of the row end)
 *         … $times times)
 *       (v128.store offset=0 (local.get $out) (local.get $a00)) …)
 *
 * The stores at the end are neighbours, from which V8 finds the pairs that it widens to 256 bits.
 */
export function productKernelModule(kind: ProductKind, rows: number, vectors: number): Uint8Array<ArrayBuffer> {
  const { add } = PRODUCT_INSTRUCTIONS[kind];
  const [X, W, OUT, TIMES, AT, WEIGHTS] = [0, 1, 2, 3, 4, 5];
  const weight = (v: number) => 6 + v;
  const VALUE = 6 + vectors;
  const sum = (r: number, v: number) => VALUE + 1 + r * vectors + v;
  const indices = (count: number) => Array.from({ length: count }, (_, i) => i);
  const get = (local: number) => [LOCAL_GET, local];
  const advance = (local: number, bytes: number) => [...get(local), ...i32Const(bytes), I32_ADD];

  const loads = indices(vectors).flatMap((v) => [
    ...[...get(WEIGHTS), ...V128_LOAD, 4, ...unsignedLeb(16 * v)],
    ...[LOCAL_SET, weight(v)],
  ]);
  const products = indices(rows).flatMap((r) => [
    ...[...get(AT), ...V128_LOAD32_SPLAT, 2, ...unsignedLeb(r * ROW_BYTES), LOCAL_SET, VALUE],
    ...indices(vectors).flatMap((v) => [...add(get(sum(r, v)), get(weight(v)), get(VALUE)), ...[LOCAL_SET, sum(r, v)]]),
  ]);
  const step = [
    ...[...LOOP, ...loads, ...products, ...advance(WEIGHTS, 16 * vectors), LOCAL_SET, WEIGHTS],
    ...[...advance(AT, 4), LOCAL_TEE, AT, ...advance(X, ROW_BYTES), I32_LT_U, BR_IF, 0, END],
  ];
  const repeat = [
    ...[...LOOP, ...get(X), LOCAL_SET, AT, ...get(W), LOCAL_SET, WEIGHTS, ...step],
    ...[...get(TIMES), ...i32Const(1), I32_SUB, LOCAL_TEE, TIMES, BR_IF, 0, END],
  ];
  const stores = indices(rows * vectors).flatMap((i) => [
    ...[...get(OUT), ...get(VALUE + 1 + i), ...V128_STORE, 4, ...unsignedLeb(16 * i)],
  ]);
  const locals = [
    [2, I32],
    [vectors + 1 + rows * vectors, V128],
  ] as const;
  return functionModule('multiply', 4, 0, locals, [...repeat, ...stores]);
}
