// A provider of OpenID Connect for a test: the certified `oidc-provider`, with one client that gets tokens for itself.
import Provider from 'oidc-provider';

const [port, secret] = process.argv.slice(2);
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{
    client_id: 'machine', client_secret: secret, grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
  }],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => 'urn:segtrust',
      getResourceServerInfo: (ctx, audience) => ({
        audience, scope: 'all', accessTokenFormat: 'jwt', accessTokenTTL: 300, jwt: { sign: { alg: 'RS256' } },
      }),
      useGrantedResource: () => true,
    },
  },
  extraTokenClaims: () => ({ preferred_username: 'otto', realm_access: { roles: ['segtrust-reviewer', 'other'] } }),
});
provider.listen(Number(port), '127.0.0.1', () => console.log('listening'));
