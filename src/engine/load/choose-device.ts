import type { GpuInfo } from '../../backends/webgpu/device/find-gpu.ts';
import type { Checkpoint } from '../../checkpoint/checkpoint.ts';
import type { ModelConfig } from '../../models/causal-lm.ts';
import { blockRowBytes } from '../../tensor/block-formats.ts';
import { elementCount } from '../../tensor/tensor.ts';
import type { ChosenDevice, Device } from '../ranks/devices.ts';

/** Device that a model runs on. */
export interface DeviceChoice {
  readonly device: ChosenDevice;
  /** Why it was chosen, in a sentence. */
  readonly reason: string;
}

/** Bytes per second that a processor core and a modest GPU read. */
const CPU_BANDWIDTH = 30e9;
const GPU_BANDWIDTH = 200e9;
/** Seconds of a round trip to a GPU, and of the small dispatches of one layer. */
const GPU_ROUND_TRIP = 3e-4;
const GPU_LAYER = 4e-5;

/**
 * Chooses the device of a model for `auto`; any other device stays as it is.
 * @param nvidiaGpu the name of an NVIDIA GPU that kernels run on without WebGPU, if there is one.
 */
export async function chooseDevice(
  asked: Device,
  checkpoint: Checkpoint,
  config: ModelConfig,
  tensorParallelSize: number | 'auto',
  nvidiaGpu: () => Promise<string | undefined> = findNvidiaGpu,
): Promise<DeviceChoice> {
  if (asked !== 'auto') return { device: asked, reason: 'It was asked for.' };
  if (typeof tensorParallelSize === 'number' && tensorParallelSize > 1) {
    return { device: 'cpu', reason: `tensorParallelSize ${tensorParallelSize} shares the model among threads.` };
  }
  const small = smallModelReason(checkpoint, config);
  if (small) return { device: 'cpu', reason: small };
  const nvidia = await nvidiaGpu();
  if (nvidia !== undefined) {
    return { device: 'cuda', reason: `${nvidia} runs CUDA kernels, which are faster than WebGPU's.` };
  }
  try {
    const { describeGpu } = await import('../../backends/webgpu/device/find-gpu.ts');
    return chooseBetween(await describeGpu());
  } catch (error) {
    return { device: 'cpu', reason: error instanceof Error ? error.message : String(error) };
  }
}

/** The NVIDIA GPU's name, where there are its driver and the package koffi. */
export async function findNvidiaGpu(): Promise<string | undefined> {
  if (typeof process === 'undefined') return undefined;
  try {
    const { describeCuda } = await import('../../backends/cuda/device/cuda-info.ts');
    return (await describeCuda()).name;
  } catch {
    return undefined;
  }
}

function chooseBetween(gpu: GpuInfo): DeviceChoice {
  const name = gpu.description || `${gpu.vendor} ${gpu.architecture}`;
  if (gpu.isSoftware) return { device: 'cpu', reason: `The only GPU, ${name}, is software, slower than WebAssembly.` };
  return { device: 'webgpu', reason: `${name} reads weights faster than the processor.` };
}

/** Decoding reads every weight once a token. A small model's are read before a GPU has answered. */
function smallModelReason(checkpoint: Checkpoint, { numHiddenLayers }: ModelConfig): string | undefined {
  const bytes = checkpoint.names().reduce((sum, name) => {
    const { dtype, shape, blocks } = checkpoint.tensor(name);
    const values = elementCount(shape);
    if (blocks !== undefined) return sum + blockRowBytes(blocks.format, values);
    return sum + values * (dtype === 'F32' || dtype === 'F64' ? 4 : 2);
  }, 0);
  const cpu = bytes / CPU_BANDWIDTH;
  const gpu = GPU_ROUND_TRIP + numHiddenLayers * GPU_LAYER + bytes / GPU_BANDWIDTH;
  if (cpu > gpu) return undefined;
  return `A model of ${(bytes / 1e6).toFixed(0)} MB takes the processor less time than the way to a GPU and back.`;
}
