import type { Template } from '../jinja/template.ts';

const NEEDLE = 'needle_3b1c';
const OTHER_NEEDLE = 'needle_7f2e';

/** Limit of steps for one trial of a template. */
const MAX_STEPS = 200_000;

/** A tool for templates that fail without any. */
const TRIAL_TOOL = {
  type: 'function',
  function: { name: 'f', description: '', parameters: { type: 'object', properties: {} } },
};

type ProbeMessage = Readonly<Record<string, unknown>>;

/** The abilities of a template, found by rendering trial messages, each at its first use and only once. */
export class TemplateTraits {
  readonly #template: Template;
  readonly #roles: ReadonlySet<string>;
  readonly #answers = new Map<string, boolean>();

  constructor(template: Template) {
    this.#template = template;
    this.#roles = template.constants;
  }

  /** Whether this role's name is anywhere in the template, to compare with. */
  mentions(role: string): boolean {
    return this.#roles.has(role);
  }

  /** Whether the template writes the texts of a list of parts. */
  takesParts(role: string): boolean {
    return this.#known(`parts ${role}`, () => {
      const parts = [NEEDLE, OTHER_NEEDLE].map((text) => ({ type: 'text', text }));
      const text = this.#tryContent(role, parts);
      // A list that is printed as a whole shows its keys.
      return text.includes(NEEDLE) && text.includes(OTHER_NEEDLE) && !/['"](type|text)['"]/.test(text);
    });
  }

  /** Whether the template drops content that is a plain text, but writes it as a part. */
  needsParts(role: string): boolean {
    return this.#known(`text ${role}`, () => !this.#tryContent(role, NEEDLE).includes(NEEDLE)) && this.takesParts(role);
  }

  /** Whether the template writes the arguments of a call that are a mapping, other than as Python prints it. */
  get takesArgumentMappings(): boolean {
    return this.#known('arguments', () => {
      const call = { name: 'f', arguments: { [NEEDLE]: OTHER_NEEDLE } };
      const answer = {
        role: 'assistant',
        content: '',
        tool_calls: [{ id: 'call00001', type: 'function', function: call }],
      };
      const result = { role: 'tool', name: 'f', tool_call_id: 'call00001', content: 'x' };
      const messages = [{ role: 'user', content: 'x' }, answer];
      const texts = [this.#try(messages), this.#try([...messages, result])];
      return texts.some((text) => text.includes(NEEDLE) && !text.includes(`{'${NEEDLE}'`));
    });
  }

  #known(question: string, ask: () => boolean): boolean {
    const known = this.#answers.get(question);
    if (known !== undefined) return known;
    const answer = ask();
    this.#answers.set(question, answer);
    return answer;
  }

  #tryContent(role: string, content: unknown): string {
    const user = { role: 'user', content: 'x' };
    const message = { role, content };
    if (role === 'user') return this.#try([message]);
    if (role === 'system') return this.#try([message, user]);
    if (role === 'assistant') return this.#try([user, message, user]);
    return this.#try([user, { role: 'assistant', content: 'x' }, message]);
  }

  /** The text of trial messages, with a tool where the template needs tools; empty where it refuses them. */
  #try(messages: readonly ProbeMessage[]): string {
    const variables = { messages, add_generation_prompt: true, bos_token: '', eos_token: '' };
    for (const tools of [null, [TRIAL_TOOL]]) {
      try {
        return this.#template.render({ ...variables, tools }, MAX_STEPS);
      } catch {}
    }
    return '';
  }
}
