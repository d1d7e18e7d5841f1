import { run } from './child-process.ts';

/** An NVIDIA GPU. */
export interface Gpu {
  readonly model: string;
  /** Version of its driver. */
  readonly driver: string;
  /** Such as 9.0. */
  readonly computeCapability: string;
}

const QUERY = ['--query-gpu=name,driver_version,compute_cap', '--format=csv,noheader'];

/** The machine's first GPU. @throws where NVIDIA's driver is not installed */
export async function firstGpu(): Promise<Gpu> {
  const table = await run('nvidia-smi', QUERY).catch((error: Error) => {
    throw new Error(`--device is 'cuda', but nvidia-smi, which comes with NVIDIA's driver, failed: ${error.message}`);
  });
  return readGpu(table);
}

/** Reads the first line of what nvidia-smi says: name, driver, compute capability. */
export function readGpu(table: string): Gpu {
  const [line] = table.trim().split('\n');
  const [model, driver, computeCapability] = line.split(',').map((cell) => cell.trim());
  if (/^\d+\.\d$/.test(computeCapability ?? '')) return { model, driver, computeCapability };
  throw new Error(`nvidia-smi says '${line}'; expected a GPU's name, driver and compute capability.`);
}

/** CMake's name of the architecture of this GPU alone. */
export function cudaArchitecture({ computeCapability }: Gpu): string {
  return `${computeCapability.replace('.', '')}-real`;
}
