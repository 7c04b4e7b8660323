#include "gateway/app/command_line.hpp"

#include <CLI/CLI.hpp>

#include <functional>
#include <span>

#include "config/address.hpp"
#include "config/names.hpp"
#include "config/units.hpp"
#include "gateway/app/commands.hpp"
#include "gateway/app/ctl_command.hpp"
#include "gateway/app/validators.hpp"
#include "gateway/attach/block_device.hpp"

namespace nbdgw::app {

namespace {

std::string check_portal(const std::string& text) {
  config::Portal portal;
  return config::parse_portal(text, portal);
}

std::string check_listen_address(const std::string& text) {
  config::Portal portal;
  return config::parse_host_port(text, config::kIscsiPort, portal.host, portal.port);
}

std::string check_control_address(const std::string& text) {
  config::Endpoint endpoint;
  return parse_control_address(text, endpoint);
}

std::string check_endpoint(const std::string& text) {
  config::Endpoint endpoint;
  return config::parse_endpoint(text, endpoint);
}

/// What needs neither a token nor a certificate: the demo has none.
std::string check_admin_endpoint(const std::string& text) {
  config::AdminEndpoint address;
  if (std::string wrong = config::parse_admin_endpoint(text, address); !wrong.empty()) return wrong;
  if (address.tls) return "the demo has no certificate: write http:// or unix://";
  return config::is_local(address.endpoint) ? "" : "\"" + text + "\" is not on loopback";
}

std::string check_size(const std::string& text) {
  const auto size = config::parse_size(text);
  // What is copied fills the demo's disk, and that has whole blocks.
  return size && *size > 0 && *size % 512 == 0 ? "" : "\"" + text + "\" is no size; write for example 256MiB";
}

CLI::Validator validator(const std::function<std::string(const std::string&)>& check, const std::string& name) {
  return CLI::Validator([check](std::string& text) { return check(text); }, name);
}

CLI::Validator iscsi_name(config::NameOf whose) {
  return validator([whose](const std::string& text) { return config::check_iscsi_name(text, whose); }, "IQN");
}

/// Of `attach`, as they are typed.
struct AttachChoices {
  std::string exported;
  std::vector<std::string> addresses{"unix:///run/nbdgw/nbd.sock"};
  std::string device = "auto";
  std::string hold = "300s";
  std::string resend = "5s";
  std::string wait = "60s";
  std::string give_up_after = "20s";
  std::string state_dir = "/run/nbdgw-attach";
  std::string ready_file;
  std::string detach;
  bool with_use = false;
  bool force = false;
  bool list = false;
};

std::string check_device(const std::string& text) {
  return attach::BlockDevice::parse(text) ? "" : "\"" + text + "\" is no /dev/nbdN";
}

std::string check_wanted_device(const std::string& text) {
  return text == "auto" ? "" : check_device(text);
}

std::string check_hold(const std::string& text) {
  // The kernel counts it in seconds, and without any it does not wait at all.
  const bool good = text == "forever" || config::parse_duration(text).value_or(0) >= proto::kSecond;
  return good ? "" : "\"" + text + "\" is neither forever nor a time from 1s on";
}

/// What all commands run through: the command line's options end up here.
struct Choices {
  AttachChoices attach;
  std::string config_file;
  DiscoverOptions discover{"", "iqn.2026-11.io.nbdgw:discover", "", ""};
  TargetCommandOptions target;
  std::vector<std::string> luns;
  DemoOptions demo;
  std::string demo_size = "256MiB";
  std::string log_format;  // empty: not named
  std::function<int()> command;
};

std::vector<std::string> words(std::span<const std::string_view> from) {
  return {from.begin(), from.end()};
}

void add_log_format(CLI::App& command, Choices& choices) {
  command
      .add_option("--log-format", choices.log_format,
                  "How log lines are written; auto: journal if systemd's journal reads them, else text")
      ->check(CLI::IsMember(words(config::kLogFormats)));
}

void add_config_commands(CLI::App& app, Choices& choices) {
  CLI::App* serve = app.add_subcommand("serve", "Run the gateway until SIGTERM or SIGINT");
  serve->add_option("-c,--config", choices.config_file, "Configuration (YAML)")->required();
  add_log_format(*serve, choices);
  serve->callback([&choices] {
    choices.command = [&choices] {
      return serve_command(choices.config_file, config::parse_log_format(choices.log_format));
    };
  });

  CLI::App* check = app.add_subcommand("check", "Check a configuration and print what it comes to");
  check->add_option("-c,--config", choices.config_file, "Configuration (YAML)")->required();
  check->callback([&choices] { choices.command = [&choices] { return check_command(choices.config_file); }; });
}

int run_attach(const Choices& choices) {
  const AttachChoices& typed = choices.attach;
  if (typed.list) return list_attached_command(typed.state_dir);
  // All was checked as it was read.
  const proto::Micros give_up_after = *config::parse_duration(typed.give_up_after);
  if (!typed.detach.empty())
    return detach_command({*attach::BlockDevice::parse(typed.detach), give_up_after, typed.force, typed.state_dir});
  AttachOptions options{.exported = typed.exported,
                        .addresses = {},
                        .device = attach::BlockDevice::parse(typed.device),
                        .hold = config::parse_duration(typed.hold).value_or(proto::kNever),
                        .resend = *config::parse_duration(typed.resend),
                        .wait = *config::parse_duration(typed.wait),
                        .give_up_after = give_up_after,
                        .with_use = typed.with_use,
                        .state_dir = typed.state_dir,
                        .ready_file = typed.ready_file};
  if (const auto format = config::parse_log_format(choices.log_format)) options.log_format = *format;
  for (const std::string& text : typed.addresses) config::parse_endpoint(text, options.addresses.emplace_back());
  return attach_command(options);
}

void add_attach_command(CLI::App& app, Choices& choices) {
  AttachChoices& typed = choices.attach;
  CLI::App* command = app.add_subcommand(
      "attach", "Attach an export to a device of the kernel, and keep it attached whatever becomes of the gateway");
  CLI::Option* exported = command->add_option("export", typed.exported, "Which export, as in exports[].name");
  command
      ->add_option("--address", typed.addresses,
                   "Where it is: tcp://HOST:PORT or unix:///PATH; repeatable, tried in turn")
      ->allow_extra_args(false)
      ->check(validator(check_endpoint, "ADDR"))
      ->capture_default_str();
  command->add_option("--device", typed.device, "/dev/nbdN, or auto: the next free one")
      ->check(validator(check_wanted_device, "DEVICE"))
      ->capture_default_str();
  command
      ->add_option("--hold", typed.hold, "How long requests wait for a gateway before they fail: a time, or forever")
      ->check(validator(check_hold, "TIME"))
      ->capture_default_str();
  command
      ->add_option(
          "--resend", typed.resend,
          "How soon after a loss what was under way is sent again; less means more lines in the kernel's log")
      ->check(duration())
      ->capture_default_str();
  command->add_option("--wait", typed.wait, "How long to wait for a gateway that is not there yet")
      ->check(duration())
      ->capture_default_str();
  command->add_flag("--with-use", typed.with_use,
                    "Detach by itself when this process is gone and nobody uses the device: for containers");
  command->add_option("--state-dir", typed.state_dir, "Where it is kept what outlives this process")
      ->capture_default_str();
  command->add_option("--ready-file", typed.ready_file, "A file that has the device's name while it is attached");
  CLI::Option* detach = command->add_option("--detach", typed.detach, "Detach this device, whoever keeps it")
                            ->check(validator(check_device, "DEVICE"));
  command->add_option("--give-up-after", typed.give_up_after, "How long a detach may take")
      ->check(duration())
      ->capture_default_str();
  command->add_flag("--force", typed.force, "Detach though it is in use")->needs(detach);
  CLI::Option* list = command->add_flag("--list", typed.list, "Show what is attached, and who keeps it");
  exported->excludes(detach)->excludes(list);
  detach->excludes(list);
  add_log_format(*command, choices);
  command->callback([&choices] {
    const AttachChoices& chosen = choices.attach;
    if (chosen.exported.empty() && chosen.detach.empty() && !chosen.list)
      throw CLI::RequiredError("export, --detach or --list");
    choices.command = [&choices] { return run_attach(choices); };
  });
}

void add_discover_command(CLI::App& app, Choices& choices) {
  DiscoverOptions& options = choices.discover;
  CLI::App* discover = app.add_subcommand("discover", "Ask an iSCSI portal which targets it knows");
  discover->add_option("portal", options.portal, "Where to ask: HOST[:PORT], IPv6 in brackets")
      ->required()
      ->check(validator(check_portal, "PORTAL"));
  discover->add_option("--initiator", options.initiator_name, "The name to ask under")
      ->check(iscsi_name(config::NameOf::initiator))
      ->capture_default_str();
  CLI::Option* user = discover->add_option("--chap-user", options.chap_user, "CHAP user");
  CLI::Option* secret = discover->add_option("--chap-secret-file", options.chap_secret_file, "File with its secret");
  user->needs(secret);
  secret->needs(user);
  discover->callback([&choices] { choices.command = [&choices] { return discover_command(choices.discover); }; });
}

void add_target_command(CLI::App& app, Choices& choices) {
  TargetCommandOptions& options = choices.target;
  CLI::App* target = app.add_subcommand("target", "Run the embedded iSCSI target, for trials and tests");
  target
      ->add_option(
          "--listen", options.listen,
          "HOST[:PORT] to listen on; port 0: any; repeatable: each is a portal group of its own, tag 1 and up")
      ->allow_extra_args(false)
      ->check(validator(check_listen_address, "ADDR"))
      ->capture_default_str();
  target->add_option("--iqn", options.iqn, "TargetName; repeatable: the same disks are there under each name")
      ->required()
      ->allow_extra_args(false)
      ->check(iscsi_name(config::NameOf::target));
  target
      ->add_option(
          "--lun", choices.luns,
          "A logical unit, LUN 1 and up: memory:size=1GiB or file:PATH[,size=1GiB], and then also ,block=4096 "
          ",read_only ,write_through; repeatable")
      ->required()
      ->allow_extra_args(false)
      ->check(validator(
          [](const std::string& text) {
            LunSpec spec;
            return parse_lun_spec(text, spec);
          },
          "SPEC"));
  CLI::Option* user = target->add_option("--chap-user", options.chap_user, "Whom initiators must be (CHAP)");
  CLI::Option* secret = target->add_option("--chap-secret-file", options.chap_secret_file, "File with the secret");
  user->needs(secret);
  secret->needs(user);
  CLI::Option* mutual_user =
      target->add_option("--mutual-user", options.mutual_user, "Who the target is (mutual CHAP)");
  CLI::Option* mutual_secret =
      target->add_option("--mutual-secret-file", options.mutual_secret_file, "File with the target's secret");
  mutual_user->needs(mutual_secret)->needs(user);
  mutual_secret->needs(mutual_user);
  target->add_option("--max-connections", options.max_connections, "TCP connections of a session")
      ->check(CLI::Range(1, 32))
      ->capture_default_str();
  target->add_option("--queue-depth", options.queue_depth, "Commands of a session at a time")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  target->add_option("--initial-r2t", options.initial_r2t, "InitialR2T: true or false")->capture_default_str();
  target->add_option("--immediate-data", options.immediate_data, "ImmediateData: true or false")
      ->capture_default_str();
  target
      ->add_option("--control", options.control,
                   "Let faults be switched on and off over HTTP: 127.0.0.1:PORT (0: any) or unix:///PATH")
      ->check(validator(check_control_address, "ADDR"));
  target->add_option("--log-level", options.log_level, "What to log")
      ->check(CLI::IsMember(words(config::kLogLevels)))
      ->capture_default_str();
  add_log_format(*target, choices);
  target->callback([&choices] {
    if (const auto format = config::parse_log_format(choices.log_format)) choices.target.log_format = *format;
    for (const std::string& text : choices.luns) {
      // It was checked already.
      LunSpec spec;
      parse_lun_spec(text, spec);
      choices.target.luns.push_back(std::move(spec));
    }
    choices.command = [&choices] { return target_command(choices.target); };
  });
}

void add_demo_command(CLI::App& app, Choices& choices) {
  CLI::App* demo = app.add_subcommand("demo", "Try it: embedded target and gateway, data copied in and out");
  demo->add_flag("--once", choices.demo.once, "End after the copies, instead of staying up until Ctrl-C");
  demo->add_option("--listen", choices.demo.listen, "Where NBD clients come in; port 0: any")
      ->check(validator(check_endpoint, "ADDR"))
      ->capture_default_str();
  demo->add_option("--admin", choices.demo.admin, "Where the admin server and its console are; port 0: any")
      ->check(validator(check_admin_endpoint, "ADDR"))
      ->capture_default_str();
  demo->add_option("--size", choices.demo_size, "How much to copy")
      ->check(validator(check_size, "SIZE"))
      ->capture_default_str();
  add_log_format(*demo, choices);
  demo->callback([&choices] {
    if (const auto format = config::parse_log_format(choices.log_format)) choices.demo.log_format = *format;
    choices.demo.size = *config::parse_size(choices.demo_size);
    choices.command = [&choices] { return demo_command(choices.demo); };
  });
}

}  // namespace

int run_command_line(int count, const char* const* arguments) {
  CLI::App app("NBD server whose disks are iSCSI LUNs", "nbdgw");
  app.require_subcommand(1);
  app.footer("Exit status: 0 done; 1 failed; 2 command line or configuration wrong, nothing was started");
  Choices choices;
  add_config_commands(app, choices);
  add_discover_command(app, choices);
  add_target_command(app, choices);
  add_demo_command(app, choices);
  add_attach_command(app, choices);
  add_ctl_command(app, choices.command);
  app.add_subcommand("version", "Print the version")->callback([&choices] { choices.command = version_command; });
  try {
    app.parse(count, arguments);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? kSuccess : kBadUsage;  // --help ends here, too
  }
  return choices.command();
}

}  // namespace nbdgw::app
