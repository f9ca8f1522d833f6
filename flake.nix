# For Nix: `nix build`, `nix run`; nixosModules.default makes snet a service of NixOS (docs/packages.md).
{
  description = "Transparent proxy for Linux";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      each = nixpkgs.lib.genAttrs [ "x86_64-linux" "aarch64-linux" "riscv64-linux" ];
    in
    {
      packages = each (system: {
        default = nixpkgs.legacyPackages.${system}.callPackage ./scripts/packages/nix/package.nix { };
      });
      nixosModules.default = import ./scripts/packages/nix/module.nix self;
    };
}
