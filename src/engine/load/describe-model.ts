import type { ModelConfig, ModelDefinition } from '../../models/causal-lm.ts';
import { defineModel } from '../../models/registry.ts';
import { openText, type TextParts, type TextSource } from '../../text/text-source.ts';
import type { SamplingDefaults } from '../sample/sampling-params.ts';
import { usesMtp } from '../speculate/speculative-config.ts';
import { hasOwnHead, OWN_HEAD_WARNING } from '../weights/stored-head.ts';
import { endOfTextIds } from './end-of-text.ts';
import { readSamplingDefaults } from './generation-config.ts';
import type { LoadSettings } from './load-options.ts';
import type { LocatedModel } from './locate-model.ts';

/** A located model and what its files say of it. */
export interface DescribedModel extends LocatedModel {
  readonly config: ModelConfig;
  readonly definition: ModelDefinition;
  /** The output head is a tensor of its own, although config.json ties it to the embeddings. */
  readonly untieHead: boolean;
  /** Whether its own layers for multi-token prediction guess tokens. */
  readonly mtp: boolean;
  readonly text: TextParts & { readonly source: () => TextSource };
  readonly eosTokenIds: readonly number[];
  readonly samplingDefaults: SamplingDefaults;
}

/** Reads a model's configs, tokenizer and chat template, and checks that they fit each other and the weights' names. */
export async function describeModel(located: LocatedModel, settings: LoadSettings): Promise<DescribedModel> {
  const { checkpoint } = located;
  if (checkpoint.quantization?.problem !== undefined) throw checkpoint.quantization.problem;
  for (const warning of checkpoint.quantization?.warnings ?? []) settings.onWarning(warning);
  const mtp = usesMtp(settings.speculativeConfig);
  const asWritten = defineModel(checkpoint.config, checkpoint.names(), { mtp });
  const untieHead = await hasOwnHead(asWritten, checkpoint, settings);
  if (untieHead) settings.onWarning(OWN_HEAD_WARNING);
  const definition = untieHead ? defineModel(checkpoint.config, checkpoint.names(), { untieHead, mtp }) : asWritten;
  const { config, note } = definition;
  if (note !== undefined) settings.onWarning(note);
  const { vocabSize } = config;
  const text = await openText(checkpoint.files, { vocabSize, chatTemplate: settings.chatTemplate });
  const { tokenizer } = text;
  tokenizer?.assertFits(vocabSize);
  const generationConfig = checkpoint.generationConfig ?? {};
  const eosTokenIds = endOfTextIds({ config, json: checkpoint.config, generationConfig, tokenizer });
  const samplingDefaults = readSamplingDefaults(generationConfig);
  return { ...located, config, definition, untieHead, mtp, text, eosTokenIds, samplingDefaults };
}
