/** Present in every supported Node (what `toString('latin1')` ends in), missing in its types; saves a dispatch. */
interface Buffer {
  latin1Slice(start?: number, end?: number): string;
}
