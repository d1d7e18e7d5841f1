import { requestGpuDevice } from '../backends/webgpu/device/gpu-device.ts';
import { USAGE } from '../backends/webgpu/device/gpu-usage.ts';
import { WebGpuBackend } from '../backends/webgpu/webgpu-backend.ts';
import type { WeightDType } from '../tensor/dtype.ts';
import type { StateDType } from '../tensor/state-dtype.ts';
import type { BenchRun } from './bench-report.ts';
import { GpuLayers, type LayerTime, WARM_UP_MS } from './gpu-layers.ts';
import type { ModelShape } from './model-shapes.ts';
import { median } from './spread.ts';

export interface GpuLayersReport {
  readonly device: string;
  readonly dtype: WeightDType;
  readonly stateDType: StateDType;
  readonly shapes: readonly {
    readonly shape: ModelShape;
    readonly weightBytes: number;
    readonly times: readonly LayerTime[];
  }[];
}

/** Everything that one command line measured on a GPU. */
export interface GpuReport {
  readonly layers: GpuLayersReport;
  readonly models: readonly { readonly shape: ModelShape; readonly run: BenchRun }[];
  /** Read and written, of a buffer that no cache holds. */
  readonly copyBytesPerSecond: number;
}

export interface GpuLayersSettings {
  readonly shapes: readonly ModelShape[];
  readonly dtype: WeightDType;
  readonly stateDType: StateDType;
  readonly batchSizes: readonly number[];
  readonly promptTokens: readonly number[];
  /** Steps to time at least. */
  readonly steps: number;
}

/**
 * Times mixer layers of published shapes on the machine's GPU.
 * @param onTime is told of each figure as it comes, with all so far. @throws UnsupportedDeviceError when there is no GPU.
 */
export async function measureGpuLayers(
  { shapes, dtype, stateDType, batchSizes, promptTokens, steps }: GpuLayersSettings,
  signal: AbortSignal,
  onTime: (what: string, soFar: GpuLayersReport) => void = () => {},
): Promise<GpuLayersReport> {
  const results: GpuLayersReport['shapes'][number][] = [];
  let device = '';
  const report = (): GpuLayersReport => ({ device, dtype, stateDType, shapes: results });
  for (const shape of shapes) {
    const gpu = await requestGpuDevice();
    device = gpu.info.device || gpu.info.description;
    const backend = new WebGpuBackend(gpu);
    try {
      const layers = await GpuLayers.make(backend, shape, dtype, stateDType);
      const times: LayerTime[] = [];
      results.push({ shape, weightBytes: layers.weightBytes, times });
      const add = (time: LayerTime) => {
        times.push(time);
        onTime(`${shape} ${time.work} ${time.rows}: ${micros(time.gpu.median)} us a layer`, report());
      };
      for (const rows of batchSizes) {
        signal.throwIfAborted();
        add(await layers.decode(rows, steps));
      }
      for (const tokens of promptTokens) {
        signal.throwIfAborted();
        add(await layers.prefill(tokens, Math.ceil(steps / 5)));
      }
    } finally {
      backend.dispose();
    }
  }
  return report();
}

/** Microseconds with as many digits as tell something. */
export function micros(value: number): string {
  return value < 100 ? value.toFixed(1) : value.toFixed(0);
}

/** Four vectors of four each: as much as an invocation should have on its way. */
const COPY = `
@group(0) @binding(0) var<storage, read> source: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> copy: array<vec4f>;
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) i: u32) {
  let first = group.x * 1024 + i;
  for (var j = 0u; j < 4; j++) { copy[first + j * 256] = source[first + j * 256]; }
}`;
const COPIED_BY_WORKGROUP = 4 * 256 * 16;
const COPIES = 50;

/** Bytes per second, read and written together, of a kernel that copies a large buffer to another on the GPU. */
export async function measureGpuBandwidth(): Promise<number> {
  const gpu = await requestGpuDevice();
  const { device, limits } = gpu;
  const most = Math.min(limits.maxBufferSize, limits.maxStorageBufferBindingSize, 65535 * COPIED_BY_WORKGROUP, 2 ** 28);
  const workgroups = Math.floor(most / COPIED_BY_WORKGROUP);
  const size = workgroups * COPIED_BY_WORKGROUP;
  const pipeline = await device.createComputePipelineAsync({
    layout: 'auto',
    compute: { module: device.createShaderModule({ code: COPY }), entryPoint: 'main' },
  });
  const [from, to] = [0, 1].map(() => device.createBuffer({ size, usage: USAGE.storage }));
  const entries = [from, to].map((buffer, binding) => ({ binding, resource: { buffer } }));
  const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
  const rates: number[] = [];
  const warm = performance.now() + WARM_UP_MS;
  while (rates.length < 15) {
    const begin = performance.now();
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    for (let copy = 0; copy < COPIES; copy++) pass.dispatchWorkgroups(workgroups);
    pass.end();
    device.queue.submit([encoder.finish()]);
    await device.queue.onSubmittedWorkDone();
    const end = performance.now();
    if (end >= warm) rates.push((COPIES * 2 * size * 1000) / (end - begin));
  }
  gpu.destroy();
  return median(rates);
}
