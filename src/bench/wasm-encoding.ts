// The WebAssembly binary format, as far as the benchmark's own kernels need it.

export const I32 = 0x7f;
export const V128 = 0x7b;

export const LOCAL_GET = 0x20;
export const LOCAL_SET = 0x21;
export const LOCAL_TEE = 0x22;
export const I32_ADD = 0x6a;
export const I32_LT_U = 0x49;
export const BR_IF = 0x0d;
export const END = 0x0b;
/** The beginning of a loop without a result. */
export const LOOP: readonly number[] = [0x03, 0x40];

/** An instruction of the SIMD proposals by its number. */
export function simd(opcode: number): number[] {
  return [0xfd, ...unsignedLeb(opcode)];
}

/** `i32.const` of a value that is not negative. */
export function i32Const(value: number): number[] {
  return [0x41, ...signedLeb(value)];
}

/**
 * A module with one function over an imported memory.
 * @param exported the function's name.
 * @param parameters number of i32 that it takes.
 * @param results number of i32 that it returns, 0 or 1.
 * @param locals further locals: how many of which type, in order.
 * @param body instructions without the last `end`.
 */
export function functionModule(
  exported: string,
  parameters: number,
  results: number,
  locals: readonly (readonly [count: number, type: number])[],
  body: readonly number[],
): Uint8Array<ArrayBuffer> {
  const types = (count: number) => [count, ...Array.from({ length: count }, () => I32)];
  const code = [locals.length, ...locals.flat(), ...body, END];
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    ...section(1, [1, 0x60, ...types(parameters), ...types(results)]),
    ...section(2, [1, ...name('env'), ...name('memory'), 0x02, 0x00, 0]),
    ...section(3, [1, 0]),
    ...section(7, [1, ...name(exported), 0x00, 0]),
    ...section(10, [1, ...unsignedLeb(code.length), ...code]),
  ]);
}

export function unsignedLeb(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsignedLeb(value >>> 7)];
}

/** Of a value that is not negative: the last byte's bit 6 is the sign, so it must stay clear. */
function signedLeb(value: number): number[] {
  return value < 0x40 ? [value] : [(value & 0x7f) | 0x80, ...signedLeb(value >>> 7)];
}

function section(id: number, content: readonly number[]): number[] {
  return [id, ...unsignedLeb(content.length), ...content];
}

function name(text: string): number[] {
  return [text.length, ...Buffer.from(text, 'ascii')];
}
