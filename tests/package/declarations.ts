import { fileURLToPath } from 'node:url';
import { Project, ts } from 'ts-morph';

export const DIST = fileURLToPath(new URL('../../dist/', import.meta.url));

/** What programs import, and the declarations that they get. */
export const ENTRIES = {
  mamba2: 'index.d.ts',
  'mamba2/ops': 'ops.d.ts',
  'mamba2/server': 'server/index.d.ts',
  'mamba2/mpi': 'mpi.d.ts',
  'mamba2/ai-sdk': 'adapters/ai-sdk/index.d.ts',
  'mamba2/langchain': 'adapters/langchain/index.d.ts',
  'mamba2/prompt-api': 'adapters/prompt-api/index.d.ts',
};
export type Entry = keyof typeof ENTRIES;

/** The declarations of the build, as a program that has neither the DOM library nor Node's types compiles them. */
export function declarationProgram(entries: readonly Entry[]): ts.Program {
  const project = new Project({
    compilerOptions: {
      noEmit: true,
      strict: true,
      exactOptionalPropertyTypes: true,
      skipLibCheck: false,
      target: ts.ScriptTarget.ES2022,
      lib: ['lib.es2022.d.ts'],
      types: [],
      module: ts.ModuleKind.NodeNext,
      moduleResolution: ts.ModuleResolutionKind.NodeNext,
    },
  });
  for (const entry of entries) project.addSourceFileAtPath(DIST + ENTRIES[entry]);
  return project.getProgram().compilerObject;
}

/** What is wrong with our own declarations, one a line. */
export function problems(program: ts.Program): string[] {
  return program
    .getSourceFiles()
    .filter(({ fileName }) => fileName.startsWith(DIST))
    .flatMap((file) => [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)])
    .map(({ file, messageText }) => `${file?.fileName}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`);
}

/** Types of ours that what an entry point exports names, but neither it nor `mamba2` exports: 'Type, named by Export'. */
export function unexportedTypes(program: ts.Program, entry: Entry): string[] {
  const checker = program.getTypeChecker();
  const own = exportsOf(program, entry);
  const known = new Set([...own, ...exportsOf(program, 'mamba2')].map(({ symbol }) => symbol));
  const missing = new Set<string>();
  for (const { symbol, isTypeOnly } of own) {
    for (const declaration of symbol.declarations ?? []) {
      for (const named of namedTypes(declaration, isTypeOnly, checker)) {
        if (!known.has(named)) missing.add(`${named.name}, named by ${symbol.name}`);
      }
    }
  }
  return [...missing].sort();
}

/** What an entry point exports. */
export interface Exported {
  /** Name under which the entry point exports it. */
  readonly name: string;
  /** Symbol of its declaration. */
  readonly symbol: ts.Symbol;
  /** Whether it is exported as a type only: then programs can't call a class's constructor. */
  readonly isTypeOnly: boolean;
}

export function exportsOf(program: ts.Program, entry: Entry): Exported[] {
  const checker = program.getTypeChecker();
  const file = program.getSourceFile(DIST + ENTRIES[entry]);
  const module = file && checker.getSymbolAtLocation(file);
  if (!module) throw new Error(`${DIST}${ENTRIES[entry]} is no module: build first.`);
  return checker.getExportsOfModule(module).map((symbol) => ({
    name: symbol.name,
    symbol: resolved(symbol, checker),
    isTypeOnly:
      symbol.declarations?.some((each) => ts.isExportSpecifier(each) && ts.isTypeOnlyExportDeclaration(each)) === true,
  }));
}

/** Our own types that a declaration names. */
function namedTypes(declaration: ts.Declaration, typeOnly: boolean, checker: ts.TypeChecker): ts.Symbol[] {
  const found: ts.Symbol[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.canHaveModifiers(node) && ts.getModifiers(node)?.some(isPrivateModifier)) return;
    if (typeOnly && ts.isConstructorDeclaration(node)) return;
    const name = nameOfType(node);
    const symbol = name && checker.getSymbolAtLocation(name);
    if (symbol) found.push(resolved(symbol, checker));
    ts.forEachChild(node, visit);
  };
  visit(declaration);
  return found.filter(isOurs);
}

function isPrivateModifier({ kind }: ts.Modifier): boolean {
  return kind === ts.SyntaxKind.PrivateKeyword;
}

function nameOfType(node: ts.Node): ts.Node | undefined {
  if (ts.isTypeReferenceNode(node)) return node.typeName;
  if (ts.isExpressionWithTypeArguments(node)) return node.expression;
  // What a type is derived from (`typeof WEIGHT_DTYPES`) can be read in the derived type.
  return ts.isImportTypeNode(node) ? node.qualifier : undefined;
}

function resolved(symbol: ts.Symbol, checker: ts.TypeChecker): ts.Symbol {
  return symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
}

/** Declared in the build at a file's top, not a type parameter. */
function isOurs({ declarations = [] }: ts.Symbol): boolean {
  return declarations.some(
    (declaration) =>
      !ts.isTypeParameterDeclaration(declaration) &&
      declaration.getSourceFile().fileName.startsWith(DIST) &&
      ts.isSourceFile(declaration.parent),
  );
}
