import { float16Bits, float16Table } from '../../../tensor/float16.ts';
import { expandShader } from '../shaders/shader-text.ts';
import { SHADER_TEXTS } from '../shaders/shaders.generated.ts';
import { USAGE } from './gpu-usage.ts';

const SHADER = 'float16-conversions';
const MAP_READ = 1;

/** Which of a device's own conversions give what IEEE 754 says. */
export interface ExactFloat16 {
  /** `unpack2x16float`, with subnormal numbers and NaN. */
  readonly widens: boolean;
  /** `pack2x16float`: the nearest value, ties to even, with subnormal numbers, infinities and NaN. */
  readonly narrows: boolean;
}

/** What holds for every device. */
export const NO_EXACT_FLOAT16: ExactFloat16 = { widens: false, narrows: false };

/**
 * WGSL leaves open what conversions do with subnormal numbers, ties and large numbers, so their results are looked at:
 * of all values of float16, and of float32 with every exponent. A device that does not answer has none that are exact.
 */
export async function findExactFloat16(device: GPUDevice): Promise<ExactFloat16> {
  const values = valuesToNarrow();
  try {
    const lost = device.lost.then(() => undefined);
    const results = await Promise.race([convert(device, values), lost]);
    if (!results) return NO_EXACT_FLOAT16;
    const [widened, narrowed] = [results.subarray(0, HALVES), results.subarray(HALVES)];
    return { widens: areWidened(widened), narrows: areNarrowed(narrowed, values) };
  } catch {
    // What is wrong with the device shows when it is used.
    return NO_EXACT_FLOAT16;
  }
}

/** Halves in words, two in each: all of them. */
const HALVES = 0x10000;

/** Around ties between normal numbers, and between subnormal ones, of both signs; bits of float32. */
function valuesToNarrow(): Uint32Array<ArrayBuffer> {
  const mantissas = new Set([0, 1, 0x7fefff, 0x7ff000, 0x7ff001, 0x7fffff]);
  for (let bit = 12; bit < 23; bit++) {
    for (const tie of [1 << bit, 3 << bit, 5 << bit]) {
      for (const mantissa of [tie - 1, tie, tie + 1]) mantissas.add(mantissa & 0x7fffff);
    }
  }
  const signs = [0, 0x80000000];
  const exponents = Array.from({ length: 256 }, (_, exponent) => exponent << 23);
  return Uint32Array.from(
    exponents.flatMap((exponent) =>
      [...mantissas].flatMap((mantissa) => signs.map((sign) => sign | exponent | mantissa)),
    ),
  );
}

async function convert(device: GPUDevice, values: Uint32Array<ArrayBuffer>): Promise<Uint32Array> {
  const halves = new Uint32Array(Uint16Array.from({ length: HALVES }, (_, half) => half).buffer);
  const module = device.createShaderModule({ code: expandShader(SHADER, SHADER_TEXTS, {}), label: SHADER });
  const compute = { module, entryPoint: 'main' };
  const pipeline = await device.createComputePipelineAsync({ label: SHADER, layout: 'auto', compute });
  const bytes = 4 * HALVES + 2 * values.length;
  const buffers = [halves, values].map((data) => {
    const buffer = device.createBuffer({ size: data.byteLength, usage: USAGE.storage | USAGE.copyTarget });
    device.queue.writeBuffer(buffer, 0, data);
    return buffer;
  });
  const results = device.createBuffer({ size: bytes, usage: USAGE.storage | USAGE.copySource });
  const read = device.createBuffer({ size: bytes, usage: USAGE.mapRead | USAGE.copyTarget });
  const group = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: [...buffers, results].map((buffer, binding) => ({ binding, resource: { buffer } })),
  });
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, group);
  pass.dispatchWorkgroups(Math.ceil((halves.length + values.length / 2) / 64));
  pass.end();
  encoder.copyBufferToBuffer(results, 0, read, 0, bytes);
  device.queue.submit([encoder.finish()]);
  await read.mapAsync(MAP_READ);
  const words = new Uint32Array(read.getMappedRange().slice(0));
  for (const buffer of [...buffers, results, read]) buffer.destroy();
  return words;
}

function areWidened(results: Uint32Array): boolean {
  const table = float16Table();
  const expected = new Uint32Array(table.buffer, table.byteOffset, HALVES);
  return results.every((bits, half) => (Number.isNaN(table[half]) ? isNaN32(bits) : bits === expected[half]));
}

function areNarrowed(results: Uint32Array, values: Uint32Array<ArrayBuffer>): boolean {
  const halves = new Uint16Array(results.buffer, results.byteOffset, values.length);
  const floats = new Float32Array(values.buffer, values.byteOffset, values.length);
  return halves.every((half, i) => (isNaN32(values[i]) ? (half & 0x7fff) > 0x7c00 : half === float16Bits(floats[i])));
}

function isNaN32(bits: number): boolean {
  return (bits & 0x7fffffff) > 0x7f800000;
}
