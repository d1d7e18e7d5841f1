import { isUrl } from '../../checkpoint/net/urls.ts';
import { storageName } from '../../tensor/state-dtype.ts';
import { deviceForm } from '../ranks/device-form.ts';
import type { SharedStatesSource } from '../store/shared-states.ts';
import type { LoadSettings } from './load-options.ts';
import { identifyModel } from './model-identity.ts';
import type { StartedModel } from './start-ranks.ts';

/**
 * The store that settings name, for one model in one form: with other weights, another dtype of them or of states, other
 * kernels or another number of ranks, whose sums round differently, states are others.
 */
export async function sharedStatesSource(
  { checkpoint, config, dtype, states, identify, device, tensorParallelSize }: StartedModel,
  { stateStore: store, stateFetch: fetch, cpuKernels }: LoadSettings,
): Promise<SharedStatesSource | undefined> {
  if (!store) return undefined;
  // Each row of a server's file is a request, so few are read, and not before they are needed.
  const local = isUrl(checkpoint.folder)
    ? undefined
    : await identifyModel(checkpoint, config, { dtype, states: storageName(states) }, Number.POSITIVE_INFINITY);
  const model = async () => {
    const [identity, form] = await Promise.all([local ?? identify(), deviceForm(device.device, cpuKernels)]);
    return JSON.stringify([identity, form, tensorParallelSize]);
  };
  return { store, fetch, model };
}
