import { SamplingParamsError } from '../../errors.ts';
import type { Tool, ToolChoice } from '../../text/parsers/tool-definition.ts';

/** Limits of OpenAI's API. */
const MAX_TOOLS = 128;
const NAME = /^[\w.-]{1,128}$/;

/**
 * Tools that may be called, checked.
 * @throws SamplingParamsError about tools of another form, or a choice among them that can't be made.
 */
export function checkedTools(tools: readonly Tool[] = [], choice: ToolChoice = 'auto'): readonly Tool[] {
  if (!Array.isArray(tools)) throw refusal('tools', 'is no list.');
  if (tools.length > MAX_TOOLS) throw refusal('tools', `has ${tools.length} entries; expected at most ${MAX_TOOLS}.`);
  const names = new Set<string>();
  for (const [i, tool] of tools.entries()) {
    const name = checkedName(tool, i);
    if (names.has(name)) throw refusal('tools', `has two functions with the name '${name}'.`);
    names.add(name);
  }
  if (choice === 'auto' || choice === 'none') return tools;
  if (choice === 'required') {
    if (tools.length > 0) return tools;
    throw refusal('toolChoice', "is 'required', but there are no tools.");
  }
  const asked = choice?.type === 'function' ? choice.function?.name : undefined;
  if (asked !== undefined && names.has(asked)) return tools;
  const shown = asked === undefined ? JSON.stringify(choice)?.slice(0, 100) : `the function '${asked}'`;
  throw refusal('toolChoice', `is ${shown}; expected 'auto', 'none', 'required' or a function of 'tools'.`);
}

function checkedName(tool: Tool, index: number): string {
  // Callers without types may give anything.
  const { type, function: called } = (tool ?? {}) as Partial<Tool>;
  if (type !== 'function' || typeof called !== 'object' || called === null) {
    throw refusal('tools', `has an entry ${index} that is not { type: 'function', function: { name, … } }.`);
  }
  const { name, description, parameters, strict } = called;
  if (typeof name !== 'string' || !NAME.test(name)) {
    throw refusal(
      'tools',
      `has the function name ${JSON.stringify(name)?.slice(0, 200)}; expected up to 128 letters, digits and _ . -`,
    );
  }
  if (description !== undefined && typeof description !== 'string') throw wrong(name, 'description', 'a text');
  if (strict !== undefined && strict !== null && typeof strict !== 'boolean') throw wrong(name, 'strict', 'a boolean');
  const isObject = typeof parameters === 'object' && parameters !== null && !Array.isArray(parameters);
  if (parameters !== undefined && !isObject) throw wrong(name, 'parameters', 'a JSON Schema as an object');
  return name;
}

function wrong(name: string, field: string, expected: string): SamplingParamsError {
  return refusal('tools', `has the function '${name}' whose ${field} is not ${expected}.`);
}

export function refusal(param: 'tools' | 'toolChoice', problem: string, hint = ''): SamplingParamsError {
  return new SamplingParamsError(`${param} ${problem}`, hint, { param });
}
