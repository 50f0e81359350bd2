/** The node's own address in a subnet. */
import { EnxameError } from '#libs/model';

/** The one that was asked for, or the first. */
export function gatewayIn(subnet: string, asked: string | undefined): string {
  const [base = '', length = '32'] = subnet.split('/');
  const first = (numberOf(base) + 1) >>> 0;
  if (!asked) return textOf(first);
  const size = 2 ** (32 - Number(length));
  const offset = numberOf(asked) - numberOf(base);
  if (offset > 0 && offset < size - 1) return asked;
  throw new EnxameError(
    'invalid-argument',
    `invalid network config:\ninvalid gateway ${asked}: parent subnet ${subnet} doesn't contain it`,
  );
}

function numberOf(address: string): number {
  return address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
}

function textOf(value: number): string {
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join('.');
}
