import { deviceForm } from '../ranks/device-form.ts';
import type { SharedStatesSource } from '../store/shared-states.ts';
import type { LoadSettings } from './load-options.ts';
import type { StartedModel } from './start-ranks.ts';

/**
 * The store that settings name, for one model in one form: with other weights, another dtype, other kernels or another
 * number of ranks, whose sums round differently, states are others.
 */
export function sharedStatesSource(
  { identify, device, tensorParallelSize }: StartedModel,
  { stateStore: store, stateFetch: fetch }: LoadSettings,
): SharedStatesSource | undefined {
  if (!store) return undefined;
  const model = async () => {
    const [identity, form] = await Promise.all([identify(), deviceForm(device.device)]);
    return JSON.stringify([identity, form, tensorParallelSize]);
  };
  return { store, fetch, model };
}
