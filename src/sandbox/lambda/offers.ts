import { type Account, priceCentsPerHour, regionsWithCapacity } from './account.ts';
import { type InstanceType, regions } from './catalog.ts';
import { renderInstanceType } from './instance-wire.ts';
import type { Route } from './route.ts';

/** What can be rented: types, regions and images. */
export function offerRoutes(account: Account): Route[] {
  const renderType = (type: InstanceType): object => {
    const withCapacity = regionsWithCapacity(account, type.name);
    return {
      instance_type: renderInstanceType(account, type, priceCentsPerHour(account, type)),
      regions_with_capacity_available: regions.filter(({ name }) => withCapacity.includes(name)),
    };
  };
  const types = () => [...account.instanceTypes].map(([name, type]) => [name, renderType(type)]);

  return [
    { method: 'GET', path: '/instance-types', handle: () => ({ data: Object.fromEntries(types()) }) },
    { method: 'GET', path: '/regions', handle: () => ({ data: regions }) },
    { method: 'GET', path: '/images', handle: () => ({ data: account.images }) },
  ];
}
