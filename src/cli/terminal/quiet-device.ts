import { execFile } from 'node:child_process';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findNvidiaGpu } from '../../engine/load/choose-device.ts';
import type { Device } from '../../engine/ranks/devices.ts';
import { UnsupportedDeviceError } from '../../errors.ts';

/** Smaller models do not take a GPU by themselves: see choose-device.ts. */
const LEAST_GPU_BYTES = 40e6;

/**
 * The device to load a model on. Where there is no GPU, Dawn writes pages of Vulkan's complaints to standard error,
 * past JavaScript. So a process of its own looks for one first, and where it finds none Dawn is never started in this
 * one.
 * @param folder of the model, or its URL.
 * @throws UnsupportedDeviceError where a GPU was asked for and there is none.
 */
export async function quietDevice(device: Device = 'auto', folder: string): Promise<Device> {
  const mayUseGpu = device === 'webgpu' || (device === 'auto' && (await isLarge(folder)));
  if (!mayUseGpu || !isInstalled()) return device;
  if (device === 'auto' && (await findNvidiaGpu()) !== undefined) return device;
  const problem = await gpuProblem();
  if (problem === undefined) return device;
  if (device === 'webgpu') throw new UnsupportedDeviceError(problem);
  return 'cpu';
}

async function isLarge(folder: string): Promise<boolean> {
  let bytes = 0;
  for (const name of await readdir(folder).catch(() => [])) {
    if (name.endsWith('.safetensors')) bytes += (await stat(join(folder, name))).size;
  }
  return bytes >= LEAST_GPU_BYTES;
}

/** Whether there is Dawn's package, and Node to run it in. */
function isInstalled(): boolean {
  if (process.versions.bun || process.versions.deno) return false;
  try {
    return import.meta.resolve('webgpu') !== '';
  } catch {
    return false;
  }
}

/** Why there is no GPU; undefined where there is one. */
function gpuProblem(): Promise<string | undefined> {
  const file = import.meta.url.endsWith('.ts') ? './gpu-probe.ts' : './gpu-probe.js';
  const path = fileURLToPath(new URL(file, import.meta.url));
  return new Promise((resolve) => {
    execFile(process.execPath, [path], { timeout: 60_000 }, (error, stdout) => {
      resolve(error === null ? undefined : stdout || "WebGPU can't be started here. Use the device 'cpu'.");
    });
  });
}
