import {
  ChatTemplateError,
  ConfigError,
  deleteStoredModel,
  JsonFileError,
  MissingTensorError,
  ModelNotFoundError,
  SafetensorsError,
  TokenizerError,
  UnexpectedTensorError,
  UnsupportedArchitectureError,
  WeightDTypeError,
  WeightShapeError,
} from '../index.ts';

/** What no second try mends: the files themselves are of no use. */
const FAULTS_OF_FILES = [
  ChatTemplateError,
  ConfigError,
  JsonFileError,
  MissingTensorError,
  ModelNotFoundError,
  SafetensorsError,
  TokenizerError,
  UnexpectedTensorError,
  UnsupportedArchitectureError,
  WeightDTypeError,
  WeightShapeError,
];

/** Deletes what a load stored before it failed, unless another try could use it: after an abort or a lost connection. */
export async function forgetFailedLoad(source: string, error: unknown): Promise<void> {
  if (FAULTS_OF_FILES.some((Fault) => error instanceof Fault)) await deleteStoredModel(source);
}
