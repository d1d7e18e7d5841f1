import { isUrl } from '../../checkpoint/net/urls.ts';
import { deviceForm } from '../ranks/device-form.ts';
import type { SharedStatesSource } from '../store/shared-states.ts';
import type { LoadSettings } from './load-options.ts';
import { formOf, identifyModel } from './model-identity.ts';
import type { StartedModel } from './start-ranks.ts';

/**
 * The store that settings name, for one model in one form: with other weights, another dtype of them, of states or of keys
 * and values, other kernels or another number of ranks, whose sums round differently, states are others.
 */
export async function sharedStatesSource(
  started: StartedModel,
  { stateStore: store, stateFetch: fetch, cpuKernels, matmulPrecision }: LoadSettings,
): Promise<SharedStatesSource | undefined> {
  if (!store) return undefined;
  const { checkpoint, config, identify, device, tensorParallelSize } = started;
  // Each row of a server's file is a request, so few are read, and not before they are needed.
  const local = isUrl(checkpoint.folder)
    ? undefined
    : await identifyModel(checkpoint, config, formOf(started), Number.POSITIVE_INFINITY);
  const model = async () => {
    const [identity, form] = await Promise.all([
      local ?? identify(),
      deviceForm(device.device, cpuKernels, matmulPrecision),
    ]);
    return JSON.stringify([identity, form, tensorParallelSize]);
  };
  return { store, fetch, model };
}
