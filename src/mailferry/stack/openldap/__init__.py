"""OpenLDAP by us: schema, configuration, private instances and bulk loads. Knows LDAP's servers, not our recipients."""
