import { Interpreter } from './interpreter.ts';
import type { Expression, Statement } from './nodes.ts';
import { parse } from './parser.ts';
import { fromJs, TemplateError, type Value } from './values.ts';

export { TemplateError } from './values.ts';

/** About a second of work. A conversation of a thousand messages takes a twentieth of it. */
const MAX_STEPS = 2_000_000;

/**
 * A Jinja template as transformers runs it: Python's values and their texts, jinja2's ImmutableSandboxedEnvironment
 * with trim_blocks, lstrip_blocks and loopcontrols, its own tojson, raise_exception, strftime_now and generation
 * blocks.
 *
 * Left out, since no published chat template was found to use them: other templates (extends, include, import),
 * autoescape blocks, and the filters filesizeformat, pprint, striptags, urlize, wordwrap and xmlattr.
 *
 * @example new Template('Hello {{ name }}!').render({ name: 'you' }); // 'Hello you!'
 */
export class Template {
  readonly #statements: readonly Statement[];

  /** @throws TemplateError with the line, where the source is no template. */
  constructor(source: string) {
    this.#statements = guarded(() => parse(source));
  }

  /**
   * @param variables JavaScript values; a Map in place of an object keeps the order of keys such as '10'.
   * @throws TemplateError with the line: in the template's own words, if it refuses; about an operation; or because the
   *   template takes more than `maxSteps`, as one without an end does.
   */
  render(variables: Readonly<Record<string, unknown>>, maxSteps = MAX_STEPS): string {
    return guarded(() => {
      const values = Object.entries(variables).map(([name, value]): [string, Value] => [name, fromJs(value)]);
      return new Interpreter(values, maxSteps).run(this.#statements);
    });
  }

  /** The texts in its expressions that it could compare with: all except those that only name a field. */
  get constants(): ReadonlySet<string> {
    const found = new Set<string>();
    collect(this.#statements, found);
    return found;
  }
}

/** Turns an overflow of the stack, which the template causes, into a TemplateError. */
function guarded<T>(run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (error instanceof RangeError) {
      const isDeep = /call stack/i.test(error.message);
      throw new TemplateError(
        isDeep ? 'The template nests too deeply.' : 'The template makes a text that is too long.',
      );
    }
    throw error;
  }
}

function collect(node: unknown, found: Set<string>): void {
  if (typeof node !== 'object' || node === null) return;
  if (Array.isArray(node)) {
    for (const each of node) collect(each, found);
    return;
  }
  const { kind, value } = node as { readonly kind?: unknown; readonly value?: unknown };
  if (kind === 'constant') {
    if (typeof value === 'string') found.add(value);
    return;
  }
  const isField = kind === 'item' && (node as Expression & { kind: 'item' }).key.kind === 'constant';
  for (const [name, part] of Object.entries(node)) if (!(isField && name === 'key')) collect(part, found);
}
