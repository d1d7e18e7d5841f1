import { createHash } from 'node:crypto';
import type { Context } from 'hono';
import type { ServedModel } from '../answer/served-model.ts';
import type { ServerEnv } from '../request/env.ts';

/** Version of Ollama whose API this is: clients refuse older ones. */
const API_VERSION = '0.13.0';

/** A time that never comes, for a model that stays loaded. */
const NEVER = '9999-12-31T23:59:59Z';

/** `GET /api/version` */
export function version() {
  return (c: Context): Response => c.json({ version: API_VERSION });
}

/** `GET /api/tags` */
export function tags(model: ServedModel) {
  return (c: Context): Response => c.json({ models: cards(model) });
}

/** `GET /api/ps` */
export function running(model: ServedModel) {
  const more = { expires_at: NEVER, size_vram: 0, context_length: model.limits.maxModelLen };
  return (c: Context): Response => c.json({ models: cards(model).map((card) => ({ ...card, ...more })) });
}

/** `POST /api/show` */
export function show(model: ServedModel) {
  return async (c: Context<ServerEnv>): Promise<Response> => {
    const body = await model.bodies.read(c, 'ollamaShow');
    model.assertName(body.model ?? body.name);
    const { architecture, hiddenSize, numHiddenLayers, vocabSize } = model.llm.config;
    const { chatFormat } = model;
    return c.json({
      license: '',
      modelfile: '',
      parameters: '',
      template: model.chatTemplateSource ?? '',
      details: details(model),
      model_info: {
        'general.architecture': architecture,
        'general.basename': model.name,
        [`${architecture}.context_length`]: model.limits.maxModelLen,
        [`${architecture}.embedding_length`]: hiddenSize,
        [`${architecture}.block_count`]: numHiddenLayers,
        [`${architecture}.vocab_size`]: vocabSize,
      },
      capabilities: [
        'completion',
        ...(chatFormat.takesTools ? ['tools'] : []),
        ...(chatFormat.reasoningDialect ? ['thinking'] : []),
      ],
      modified_at: modifiedAt(model),
    });
  };
}

/** The model under each of its names, with a tag as Ollama's have it. */
function cards(model: ServedModel) {
  return model.names.map((given) => {
    const name = given.includes(':') ? given : `${given}:latest`;
    return {
      name,
      model: name,
      modified_at: modifiedAt(model),
      size: 0,
      digest: createHash('sha256')
        .update(JSON.stringify([name, model.llm.config]))
        .digest('hex'),
      details: details(model),
    };
  });
}

function details({ llm }: ServedModel) {
  const { architecture: family } = llm.config;
  const format = llm.folder.endsWith('.gguf') ? 'gguf' : 'safetensors';
  return { parent_model: '', format, family, families: [family], parameter_size: '', quantization_level: '' };
}

function modifiedAt({ created }: ServedModel): string {
  return new Date(created * 1000).toISOString();
}
