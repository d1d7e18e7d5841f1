import { readFile } from 'node:fs/promises';
import { readJsonFile } from '../../checkpoint/files/model-files.ts';
import { getOwn, isJsonObject } from '../../checkpoint/json/json.ts';
import { openModelFiles } from '../../checkpoint/open-model-files.ts';
import { NAMED_TEMPLATES } from '../../text/chat/named-templates.ts';
import { text } from './option.ts';
import { UsageError } from './usage-error.ts';

/** `--chat-template` */
export const chatTemplateOption = text(
  'template',
  `Chat template in place of the model's own: a file, Jinja itself, or a name: ${Object.keys(NAMED_TEMPLATES).join(', ')}, or one of the model's list`,
);

/**
 * The Jinja source that `--chat-template` stands for.
 * @param folder of the model, or its URL.
 * @throws UsageError
 */
export async function findTemplate(given: string, folder: string): Promise<string> {
  if (/\{[{%#]/.test(given)) return given;
  const problem = await readFile(given, 'utf8').catch((error: NodeJS.ErrnoException) => error);
  if (typeof problem === 'string') return problem;
  const named = new Map([...Object.entries(NAMED_TEMPLATES), ...(await listedTemplates(folder))]);
  const source = named.get(given);
  if (source !== undefined) return source;
  const reason = problem.code === 'ENOENT' ? '' : ` (${problem.message})`;
  throw new UsageError(
    `--chat-template is '${given}', which can't be read as a file${reason}, and is neither Jinja nor the name of a template.`,
    `Names: ${[...named.keys()].join(', ')}.`,
  );
}

/** A model may have several templates, `{name, template}` each. */
async function listedTemplates(folder: string): Promise<[string, string][]> {
  const files = await openModelFiles(folder);
  try {
    const json = await readJsonFile(files, 'tokenizer_config.json');
    const list = json === undefined ? undefined : getOwn(json, 'chat_template');
    return (Array.isArray(list) ? list : []).flatMap((entry): [string, string][] => {
      const [name, template] = isJsonObject(entry) ? [getOwn(entry, 'name'), getOwn(entry, 'template')] : [];
      return typeof name === 'string' && typeof template === 'string' ? [[name, template]] : [];
    });
  } finally {
    await files.close();
  }
}
