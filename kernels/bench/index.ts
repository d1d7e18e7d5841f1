// What `mamba2 bench` measures a machine's limits with.
export {
  floatRows2, floatRows3, floatRows4, floatRows6, integerRows2, integerRows3, integerRows4, integerRows6, pairRows2, pairRows3,
  pairRows4, pairRows6,
} from './product';
export { read } from './read';
