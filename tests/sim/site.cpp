#include "tests/sim/site.hpp"

#include "tests/sim/scene.hpp"
#include "tests/sim/throng.hpp"

namespace nbdgw::sim {
namespace {

constexpr std::uint64_t kHungUnits = 0x68756e67;
constexpr std::uint64_t kCirclingLogins = 0x63697263;

MediumOptions draw_medium(Random& random, std::uint32_t number, std::int64_t least, std::int64_t most) {
  const std::int64_t bytes = random.spread(least << 20, most << 20) >> 20 << 20;
  return MediumOptions::draw(random, number, static_cast<std::uint64_t>(bytes));
}

}  // namespace

Site::Site(const Setup& setup, Random& random, Timeline& timeline, Network& network)
    : iqn_("iqn.2026-11.io.nbdgw:array" + std::to_string(setup.number)), healthy_(!setup.faults) {
  TargetOptions options;
  options.names = {iqn_};
  options.controllers.clear();
  theme_ = setup.faults ? draw_theme(random) : Theme::none;
  const bool single = theme_ != Theme::controllers && random.chance(0.6);
  const std::int64_t controllers = single ? 1 : random.between(2, 3);
  for (std::int64_t i = 1; i <= controllers; ++i) {
    const std::string address = "10." + std::to_string(setup.number + 1) + ".0." + std::to_string(i) + ":3260";
    options.controllers.push_back({.addresses = {address}, .group_tag = static_cast<std::uint16_t>(i)});
  }
  const auto disks = static_cast<std::uint32_t>(random.between(1, 3));
  for (std::uint32_t i = 0; i < disks; ++i) {
    // Some have more than 65,536 blocks.
    const bool large = random.chance(0.15);
    options.media.push_back(draw_medium(random, setup.first_disk + i, large ? 36 : 2, large ? 40 : 16));
    options.luns.push_back({.number = i, .medium = i});
  }
  const std::int64_t spares = random.chance(0.5) ? random.between(1, 2) : 0;
  for (std::int64_t i = 0; i < spares; ++i) {
    const MediumOptions spare = draw_medium(random, 100 + 10 * setup.number + static_cast<std::uint32_t>(i), 1, 8);
    if (setup.spares) options.media.push_back(spare);
  }
  options.habits = habits_ = TargetHabits::draw(random);
  // Nothing is as hard to prove as what such a target has kept aside.
  if (theme_ == Theme::ladder && random.chance(0.5)) options.habits.parked_survive = habits_.parked_survive = true;
  options.habits.hung_units_answer = habits_.hung_units_answer = Random(setup.seed ^ kHungUnits).chance(0.5);
  const double circles = theme_ == Theme::logins ? 0.5 : 0.03;
  options.habits.redirects_in_circles = habits_.redirects_in_circles =
      setup.faults && Random(setup.seed ^ kCirclingLogins).chance(circles);
  options.faults = TargetFaults::draw(random);
  options.faults.take(theme_, random);
  if (setup.scene != nullptr) setup.scene->set(options, theme_);
  if (setup.throng != nullptr) setup.throng->set(options);
  habits_ = options.habits;
  longest_outage_ = options.faults.longest_outage;
  if (!setup.faults) options.faults.rate = {};
  Random liars(setup.seed ^ 0xf0a);
  for (MediumOptions& medium : options.media) medium.refuses_fua = liars.chance(0.08);
  options.complaints = setup.complaints;
  options.observer = setup.observer;
  target_ = std::make_unique<Target>(timeline, random.fork(), options);
  for (std::uint32_t i = 0; i < options.luns.size(); ++i) {
    const MediumOptions& medium = options.media[i];
    const std::uint32_t number = setup.first_disk + i;
    disks_.push_back(
        {.number = number,
         .exported = "vol" + std::to_string(number),
         .home = &target_->medium(i),
         .oracle = std::make_unique<Oracle>(timeline, number, medium.blocks * medium.block_size / Oracle::kCell)});
  }
  for (std::size_t i = 0; i < target_->controllers(); ++i) {
    controllers_.push_back(std::make_unique<WireController>(target_->controller(i)));
    for (const std::string& address : target_->controller(i).options().addresses) {
      network.listen(address, controllers_.back().get());
      portals_.push_back(address);
    }
  }
}

}  // namespace nbdgw::sim
