# snet as a service of NixOS:
#
#   services.snet.enable = true;
#
# The configuration is a file of yours, /etc/snet/config.toml: it holds a password, and the store can be read by all.
self:
{ config, lib, pkgs, ... }:
let
  cfg = config.services.snet;
in
{
  options.services.snet = {
    enable = lib.mkEnableOption "snet, a transparent proxy";
    package = lib.mkOption {
      type = lib.types.package;
      default = self.packages.${pkgs.stdenv.hostPlatform.system}.default;
      description = "The snet that runs.";
    };
    configFile = lib.mkOption {
      type = lib.types.str;
      default = "/etc/snet/config.toml";
      description = "Its configuration: a path outside of the store, as the file holds a password.";
    };
  };

  config = lib.mkIf cfg.enable {
    assertions = [
      {
        assertion = !lib.hasPrefix builtins.storeDir cfg.configFile;
        message = "services.snet.configFile is in the store, where everybody can read its password";
      }
    ];
    environment.systemPackages = [ cfg.package ];
    # The package's own unit, with what NixOS has to add.
    systemd.packages = [ cfg.package ];
    systemd.services.snet = {
      wantedBy = [ "multi-user.target" ];
      path = [ pkgs.iptables pkgs.ipset pkgs.kmod ];
      serviceConfig.ExecStart = [ "" "${cfg.package}/bin/snet -c ${cfg.configFile}" ];
      # A changed unit restarts it; a changed file is taken in by `snet reload`.
      restartIfChanged = true;
    };
  };
}
