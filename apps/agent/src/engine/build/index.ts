export { buildRoutes } from './build-routes.js';
