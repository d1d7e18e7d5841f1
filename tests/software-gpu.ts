import { createNodeGpu } from '../src/backends/webgpu/device/node-gpu.ts';

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
