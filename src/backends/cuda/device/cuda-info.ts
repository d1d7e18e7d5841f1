import { UnsupportedDeviceError } from '../../../errors.ts';
import { CudaDriver } from './driver.ts';

/** Numbers of attributes that cuDeviceGetAttribute knows. */
const MULTIPROCESSORS = 16;
const MAJOR = 75;
const MINOR = 76;
const SHARED_BYTES = 97;
const COOPERATIVE_LAUNCHES = 95;
/** Compute capability that the kernels' PTX is for, and newer. */
const LEAST_CAPABILITY = 80;
/** Hopper's, which alone has multiplications of warpgroups; and CUDA 12.0, whose drivers know them, and the copy engine. */
const HOPPER = 90;
const HOPPER_VERSION = 12000;

/** Facts of a GPU. */
export interface CudaInfo {
  readonly name: string;
  /** Compute capability: 90 is 9.0. */
  readonly capability: number;
  /** Whether kernels run that are for Hopper only. */
  readonly hasWarpgroups: boolean;
  readonly multiprocessors: number;
  /** Bytes of shared memory that a block may have. */
  readonly sharedBytes: number;
  /** Bytes of its memory, those in use included. */
  readonly memory: number;
}

/** Describes the machine's first NVIDIA GPU without taking it. @throws MissingPackageError, UnsupportedDeviceError */
export async function describeCuda(): Promise<CudaInfo> {
  return infoOf(await CudaDriver.load(), 0);
}

/**
 * Describes the NVIDIA GPUs that this process sees, up to the first that is too old: ranks take them in their order.
 * @throws MissingPackageError; UnsupportedDeviceError where the first is too old, or there is none.
 */
export async function describeAllCuda(): Promise<CudaInfo[]> {
  const driver = await CudaDriver.load();
  const all = [infoOf(driver, 0)];
  try {
    for (let ordinal = 1; ordinal < driver.deviceCount; ordinal++) all.push(infoOf(driver, ordinal));
  } catch (error) {
    if (!(error instanceof UnsupportedDeviceError)) throw error;
  }
  return all;
}

/** The facts of the GPU of this number. @throws UnsupportedDeviceError when kernels do not run on it. */
export function infoOf(driver: CudaDriver, ordinal: number): CudaInfo {
  const device = driver.int((out) => driver.functions.cuDeviceGet(out, ordinal), 'cuDeviceGet');
  const attribute = (number: number) => {
    return driver.int((out) => driver.functions.cuDeviceGetAttribute(out, number, device), 'cuDeviceGetAttribute');
  };
  const text = new Uint8Array(256);
  driver.check(driver.functions.cuDeviceGetName(text, text.length, device), 'cuDeviceGetName');
  const name = new TextDecoder().decode(text.subarray(0, text.indexOf(0)));
  const capability = 10 * attribute(MAJOR) + attribute(MINOR);
  if (capability >= LEAST_CAPABILITY) {
    const bytes = new BigUint64Array(1);
    driver.check(driver.functions.cuDeviceTotalMem(bytes, device), 'cuDeviceTotalMem');
    const [multiprocessors, sharedBytes] = [attribute(MULTIPROCESSORS), attribute(SHARED_BYTES)];
    const hasWarpgroups = capability === HOPPER && driver.version >= HOPPER_VERSION;
    return { name, capability, hasWarpgroups, multiprocessors, sharedBytes, memory: Number(bytes[0]) };
  }
  throw new UnsupportedDeviceError(
    `${name} has compute capability ${capability / 10}; the kernels take ${LEAST_CAPABILITY / 10} (Ampere) or newer.`,
    "Use the device 'webgpu' or 'cpu'.",
  );
}

/** Whether a GPU is of Hopper's generation or newer and takes launches all of whose blocks run at a time, as its driver does. */
export function hasCooperativeLaunches(driver: CudaDriver, ordinal: number, { capability }: CudaInfo): boolean {
  if (capability < HOPPER || driver.version < HOPPER_VERSION) return false;
  const { cuDeviceGet, cuDeviceGetAttribute } = driver.functions;
  const device = driver.int((out) => cuDeviceGet(out, ordinal), 'cuDeviceGet');
  return driver.int((out) => cuDeviceGetAttribute(out, COOPERATIVE_LAUNCHES, device), 'cuDeviceGetAttribute') === 1;
}
