import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ChatTemplate } from '../src/text/chat/chat-template.ts';
import { Template } from '../src/text/jinja/template.ts';
import { renderChat } from '../tests/text/jinja/chat.ts';
import {
  CONTINUED,
  CONVERSATIONS,
  type Variables,
  withJsonArguments,
  withMappings,
} from '../tests/text/jinja/conversations.ts';
import { type PythonResult, renderInPython } from '../tests/text/jinja/python.ts';
import { say } from './child-process.ts';
import { llamaCppSource } from './llama-cpp.ts';

/**
 * Renders published chat templates with conversations of all kinds, here and with Python's jinja2 as transformers does,
 * and prints what differs. The templates are those of `models/templates` in llama.cpp's source, or in a folder that is
 * given. Needs python3 with jinja2 (Debian: python3-jinja2). Ends with 1 if any text differs.
 *
 * Two things are compared: the language, as templates get their variables in Python; and conversations as programs give
 * them to a model, with the arguments of calls in JSON.
 */
const [given] = process.argv.slice(2);
const folder = given ?? join((await llamaCppSource()).source, 'models', 'templates');
const names = (await readdir(folder)).filter((name) => name.endsWith('.jinja')).sort();
if (names.length === 0) throw new Error(`There is no .jinja file in '${folder}'.`);

/** A conversation, and how it is rendered. */
interface Conversation {
  readonly name: string;
  readonly variables: Variables;
  readonly isContinued: boolean;
}

const conversations: readonly Conversation[] = [
  ...CONVERSATIONS.map((variables, i) => ({ name: `conversation ${i}`, variables, isContinued: false })),
  ...CONTINUED.map((variables, i) => ({ name: `continued ${i}`, variables, isContinued: true })),
];

/** Numbers of comparisons by their outcome. */
const counts = { equal: 0, bothFail: 0, refused: 0, different: 0 };

for (const name of names) await compareTemplate(name);

const { equal, bothFail, refused, different } = counts;
say(
  `${names.length} templates, ${conversations.length} conversations: ${equal} texts equal, ${bothFail} fail in both, ` +
    `${refused} refused rather than rendered without a message, ${different} DIFFERENT`,
);
if (different > 0) process.exitCode = 1;

async function compareTemplate(name: string): Promise<void> {
  const source = await readFile(join(folder, name), 'utf8');
  const inPython = (change: (variables: Variables) => Variables) =>
    renderInPython(
      conversations.map(({ variables, isContinued }) => [source, JSON.stringify(change(variables)), isContinued]),
    );
  const [asGiven, asMappings, asJson] = [
    inPython((variables) => variables),
    inPython(withMappings),
    inPython(withJsonArguments),
  ];
  const template = attempt(() => new Template(source));
  const chat = attempt(() => new ChatTemplate(source));
  for (const [i, conversation] of conversations.entries()) {
    const { variables, isContinued } = conversation;
    const report = (ours: PythonResult, python: PythonResult, how: string) => {
      counts.different++;
      say(
        `${name}, ${conversation.name}, ${how}\n  Python: ${JSON.stringify(python)}\n  ours:   ${JSON.stringify(ours)}`,
      );
    };
    if (!isContinued) {
      const ours = outcome(() => template().render(variables));
      if (!count(ours, asGiven[i])) report(ours, asGiven[i], 'as in Python');
    }
    if (!isPlain(variables)) continue;
    const ours = outcome(() => renderChat(chat(), withJsonArguments(variables), isContinued));
    if (ours.error !== undefined && /leaves out message|does not know/.test(ours.error)) counts.refused++;
    else if (!count(ours, ...expected(asMappings[i], asJson[i]))) report(ours, asMappings[i], 'as programs give it');
  }
}

/** A template gets JSON where it takes no mappings: it fails, or prints Python's. */
function expected(asMappings: PythonResult, asJson: PythonResult): readonly PythonResult[] {
  return asMappings.text?.includes("{'") === false ? [asMappings] : [asMappings, asJson];
}

/** Counts an outcome that is one of Python's. → whether it is */
function count(ours: PythonResult, ...python: readonly PythonResult[]): boolean {
  const same = python.find(({ text, error }) => (error === undefined ? ours.text === text : ours.error !== undefined));
  if (same === undefined) return false;
  counts[same.error === undefined ? 'equal' : 'bothFail']++;
  return true;
}

/** Whether the conversation is the same for every template: not where texts replace parts, and system a developer. */
function isPlain({ messages }: Variables): boolean {
  return messages.every(({ role, content }) => role !== 'developer' && !Array.isArray(content));
}

function outcome(run: () => string): PythonResult {
  try {
    return { text: run() };
  } catch (error) {
    return { error: String(error) };
  }
}

/** Makes something once; asking for it throws what making it threw. */
function attempt<T>(make: () => T): () => T {
  try {
    const made = make();
    return () => made;
  } catch (error) {
    return () => {
      throw error;
    };
  }
}
