import { describeMixerOnRanks } from './mixer-on-ranks.ts';

describeMixerOnRanks([4, 5, 6, 8]);
