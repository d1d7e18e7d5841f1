import type { Context } from 'hono';
import type { ServedModel } from '../answer/served-model.ts';

/** `GET /v1/models` */
export function listModels(model: ServedModel) {
  return (c: Context): Response => c.json({ object: 'list', data: model.names.map((name) => card(model, name)) });
}

/** `GET /v1/models/{model}`; names may have slashes. */
export function getModel(model: ServedModel) {
  return (c: Context): Response => {
    const name = c.req.param('model') ?? '';
    model.assertName(name);
    return c.json(card(model, name));
  };
}

function card({ created, name: root, limits, hasChatTemplate, chatTemplateKind }: ServedModel, name: string) {
  return {
    id: name,
    object: 'model',
    created,
    owned_by: 'mamba2',
    root,
    max_model_len: limits.maxModelLen,
    has_chat_template: hasChatTemplate,
    chat_template_kind: chatTemplateKind ?? null,
  };
}
