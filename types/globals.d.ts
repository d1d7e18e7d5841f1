/**
 * Names of the web platform that this package's declarations use. Where a program has the DOM library or Node's types,
 * these merge with what is declared there and add nothing; where it has neither, the names at least exist.
 */
interface AbortSignal {}
interface Response {}
interface URL {}
interface Worker {}
declare namespace WebAssembly {
  interface Module {}
  interface Memory {}
}
