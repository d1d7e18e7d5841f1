import { existsSync } from 'node:fs';
import { createNodeGpu } from '../src/backends/webgpu/node-gpu.ts';

/** SwiftShader, a Vulkan driver on the processor, as Debian's chromium brings it. */
const SWIFTSHADER = '/usr/lib/chromium/vk_swiftshader_icd.json';

/** Whether tests have a GPU to run on. In CI they must. */
export const hasGpu = process.env.VK_ICD_FILENAMES !== undefined || existsSync(SWIFTSHADER) || Boolean(process.env.CI);

/** Read by the Vulkan loader when the first device is asked for. */
process.env.VK_ICD_FILENAMES ??= SWIFTSHADER;

/** A GPU as `navigator.gpu`, with what goes wrong on it in a test's hands. */
export class FaultyGpu {
  /** All that were given out, the last one last. */
  readonly devices: GPUDevice[] = [];
  /** Called with every new device. */
  onDevice: (device: GPUDevice) => void = () => {};

  /** Puts it in place of the machine's, for everything in this thread that asks for one. */
  static async install(nodeOptions: readonly string[] = []): Promise<FaultyGpu> {
    const faulty = new FaultyGpu();
    const gpu = await createNodeGpu(nodeOptions);
    const requestAdapter = async (options?: GPURequestAdapterOptions) => {
      const adapter = await gpu.requestAdapter(options);
      const requestDevice = adapter?.requestDevice.bind(adapter);
      if (!adapter || !requestDevice) return null;
      adapter.requestDevice = async (descriptor) => {
        const device = await requestDevice(descriptor);
        faulty.devices.push(device);
        faulty.onDevice(device);
        return device;
      };
      return adapter;
    };
    Object.defineProperty(globalThis.navigator, 'gpu', {
      value: { requestAdapter, keptAlive: gpu },
      configurable: true,
    });
    return faulty;
  }

  uninstall(): void {
    Reflect.deleteProperty(globalThis.navigator, 'gpu');
  }
}
