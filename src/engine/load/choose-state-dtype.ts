import { getOwn, type JsonObject } from '../../checkpoint/json/json.ts';
import { ConfigError } from '../../errors.ts';
import { languageModelConfig } from '../../models/language-model.ts';
import {
  STATE_DTYPES,
  type StateDTypeSetting,
  type StateRounding,
  type StateStorage,
} from '../../tensor/state-dtype.ts';
import type { ChosenDevice } from '../ranks/devices.ts';

/** The key of Nemotron's configs that vLLM takes the dtype from. */
const CONFIG_KEY = 'mamba_ssm_cache_dtype';

/** Storage that was asked for. */
export interface AskedStates {
  readonly stateDtype?: StateDTypeSetting | undefined;
  readonly stateRounding?: StateRounding | undefined;
  readonly replayssmBufferLen?: number | undefined;
}

/** What was asked for, on a device that `auto` has taken: what only `cuda` does is left out elsewhere, with a warning. */
export function statesOn<T extends AskedStates>(
  device: ChosenDevice,
  asked: T,
  onWarning: (message: string) => void,
): T {
  const { replayssmBufferLen: steps } = asked;
  if (device === 'cuda' || steps === undefined || steps === 1) return asked;
  onWarning(
    `replayssmBufferLen is ${steps}, but the model runs on '${device}', which writes states in each step: it changes nothing.`,
  );
  return { ...asked, replayssmBufferLen: undefined };
}

/**
 * Storage of a model's SSM states as it was asked for, or else as its config says.
 * @param config the model's config.json; of a multimodal model, its language model's part counts
 * @throws ConfigError
 */
export function stateStorage(
  config: JsonObject,
  { stateDtype = 'auto', stateRounding: rounding = 'nearest', replayssmBufferLen: replaySteps }: AskedStates,
): StateStorage {
  if (stateDtype !== 'auto') return { dtype: stateDtype, rounding, replaySteps };
  const written = getOwn(languageModelConfig(config) ?? config, CONFIG_KEY) ?? 'auto';
  if (written === 'auto') return { dtype: 'float32', rounding, replaySteps };
  const dtype = STATE_DTYPES.find((known) => known === written);
  if (dtype !== undefined) return { dtype, rounding, replaySteps };
  throw new ConfigError(
    `config.json has ${CONFIG_KEY} ${JSON.stringify(written)}; expected one of: ${STATE_DTYPES.join(', ')}.`,
    'Say which dtype states are to have (stateDtype).',
  );
}
