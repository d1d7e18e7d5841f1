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

/** The model under one of its names, with vLLM's members and some of our own. */
function card({ created, name: root, limits, hasChatTemplate, chatTemplateKind }: ServedModel, name: string) {
  return {
    id: name,
    object: 'model',
    created,
    owned_by: 'mamba2',
    root,
    // Names are of one model: none is an adapter of another.
    parent: null,
    max_model_len: limits.maxModelLen,
    permission: [permission(created, name)],
    has_chat_template: hasChatTemplate,
    chat_template_kind: chatTemplateKind ?? null,
  };
}

/** What clients of older APIs look for: the model may be used, and not trained. */
function permission(created: number, name: string) {
  return {
    id: `modelperm-${name}`,
    object: 'model_permission',
    created,
    allow_create_engine: false,
    allow_sampling: true,
    allow_logprobs: true,
    allow_search_indices: false,
    allow_view: true,
    allow_fine_tuning: false,
    organization: '*',
    group: null,
    is_blocking: false,
  };
}
