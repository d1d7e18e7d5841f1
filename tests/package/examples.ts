import { Project, ts } from 'ts-morph';
import { DIST, ENTRIES, type Entry, exportsOf } from './declarations.ts';

/** Values that examples may use without saying where they come from, with their types. */
const GIVEN: Readonly<Record<string, string>> = {
  llm: "import('mamba2').LLM",
  backend: "import('mamba2').Backend",
  context: "import('mamba2').LayerContext",
  hiddenStates: "import('mamba2').Tensor",
  config: "import('mamba2').Mamba2Config",
  source: "import('mamba2').ByteSource",
  tokenizer: "import('mamba2').TextTokenizer",
  server: "import('mamba2/server').RunningServer",
};

/** An `@example` of something that an entry point exports. */
export interface Example {
  /** What it is an example of, such as `LLM.load`. */
  readonly of: string;
  readonly code: string;
}

/** What the entry points of the build export as values, with the examples in the comments of each and of its members. */
export class PublicExamples {
  readonly #project = new Project({
    compilerOptions: {
      noEmit: true,
      strict: true,
      exactOptionalPropertyTypes: true,
      skipLibCheck: true,
      target: ts.ScriptTarget.ES2022,
      lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts', 'lib.dom.d.ts', 'lib.dom.iterable.d.ts'],
      types: ['node'],
      allowJs: true,
      checkJs: true,
      module: ts.ModuleKind.NodeNext,
      moduleResolution: ts.ModuleResolutionKind.NodeNext,
    },
  });
  readonly examples: readonly Example[];
  /** Exported functions and classes that have none, as `entry: name`. Classes of errors need none. */
  readonly without: readonly string[];
  /** Entry points by the names that they export, those first that export more than the type. */
  readonly #entries = new Map<string, readonly Entry[]>();

  constructor() {
    const entries = Object.keys(ENTRIES) as Entry[];
    for (const entry of entries) this.#project.addSourceFileAtPath(DIST + ENTRIES[entry]);
    const program = this.#project.getProgram().compilerObject;
    const examples = new Map<string, Example>();
    const without: string[] = [];
    for (const entry of entries) {
      for (const { name, symbol, isTypeOnly } of exportsOf(program, entry)) {
        const earlier = this.#entries.get(name) ?? [];
        this.#entries.set(name, isTypeOnly ? [...earlier, entry] : [entry, ...earlier]);
        const { declarations = [] } = symbol;
        const found = declarations.flatMap((node) => examplesOf(node, name));
        // Two entry points may export one declaration.
        for (const example of found) if (!examples.has(example.code)) examples.set(example.code, example);
        const isWanted = !isTypeOnly && !isError(name) && declarations.some(isFunctionOrClass);
        if (isWanted && found.length === 0) without.push(`${entry}: ${name}`);
      }
    }
    this.examples = [...examples.values()];
    this.without = without;
  }

  /** What is wrong with examples and with the scripts at these paths, one a line, beginning with what it is wrong in. */
  problems(scripts: readonly string[] = []): string[] {
    const names = new Map<string, string>(scripts.map((path) => [path, path]));
    for (const path of scripts) this.#project.addSourceFileAtPath(path);
    for (const [i, example] of this.examples.entries()) {
      const path = `${DIST}example-${i}.ts`;
      names.set(path, `@example of ${example.of}`);
      this.#project.createSourceFile(path, this.#module(example));
    }
    const program = this.#project.getProgram().compilerObject;
    return [...names].flatMap(([path, name]) => {
      const file = program.getSourceFile(path);
      const found = [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)];
      return found.map(({ messageText }) => `${name}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`);
    });
  }

  /** An example as a module: what it uses of the package is imported, unless the example does so itself. */
  #module({ code }: Example): string {
    const used = new Set(code.match(/\b[A-Za-z]\w*\b/g));
    const declared = new Set(
      [...code.matchAll(/\b(?:const|let|class|function|import)\s+(?:\{([^}]*)\}|(\w+))/g)].flatMap(([, list, name]) =>
        (list ?? name).split(/[,\s:]+/),
      ),
    );
    const free = [...used].filter((name) => !declared.has(name));
    const imports = free.flatMap((name) => {
      const from = this.#entries.get(name)?.[0];
      return from ? [`import { ${name} } from '${from}';`] : [];
    });
    const given = free.flatMap((name) =>
      Object.hasOwn(GIVEN, name) ? [`declare const ${name}: ${GIVEN[name]};`] : [],
    );
    return [...imports, ...given, code, 'export {};'].join('\n');
  }
}

function isFunctionOrClass(node: ts.Node): boolean {
  return ts.isFunctionDeclaration(node) || ts.isClassDeclaration(node);
}

function isError(name: string): boolean {
  return name.endsWith('Error') && name !== 'Mamba2Error';
}

/** Code blocks under `@example` in the comments of a declaration and, of a class or an interface, of its members. */
function examplesOf(node: ts.Node, name: string): Example[] {
  const own = ts
    .getJSDocTags(node)
    .filter(({ tagName }) => tagName.text === 'example')
    .map(({ comment }) => ({ of: name, code: codeOf(ts.getTextOfJSDocComment(comment) ?? '') }));
  const members = ts.isClassDeclaration(node) || ts.isInterfaceDeclaration(node) ? [...node.members] : [];
  return own.concat(members.flatMap((member) => examplesOf(member, `${name}.${member.name?.getText() ?? ''}`)));
}

function codeOf(text: string): string {
  return /```(?:ts|js)\n([\s\S]*?)```/.exec(text)?.[1] ?? text;
}
