#include "gateway/initiator/task_list.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <vector>

#include "tests/unit/random.hpp"

using namespace nbdgw::initiator;

namespace {

std::vector<const Task*> content(const TaskList& list) {
  std::vector<const Task*> out;
  const Task* previous = nullptr;
  for (const Task* task = list.front(); task != nullptr; task = task->list_next) {
    CHECK(task->list_previous == previous);
    previous = task;
    out.push_back(task);
  }
  return out;
}

}  // namespace

TEST_CASE("task list: by deadline, first come first, and the overdue behind all") {
  auto random = nbdgw::test::seeded_random();
  std::vector<Task> tasks(40);
  TaskList list;
  std::vector<const Task*> model;  // in the order that the list must have
  for (int step = 0; step < 20'000; ++step) {
    Task& task = tasks[random() % tasks.size()];
    const auto at = std::find(model.begin(), model.end(), &task);
    if (at != model.end()) {
      list.remove(task);
      model.erase(at);
      CHECK(task.list_next == nullptr);
      CHECK(task.list_previous == nullptr);
    } else {
      task.overdue = random() % 4 == 0;
      task.deadline = task.overdue ? nbdgw::proto::kNever : static_cast<nbdgw::proto::Micros>(random() % 10);
      const auto place =
          std::upper_bound(model.begin(), model.end(), task.deadline,
                           [](auto deadline, const Task* other) { return deadline < other->deadline; });
      model.insert(place, &task);
      list.insert(task);
    }
    REQUIRE(content(list) == model);
    const auto overdue = std::find_if(model.begin(), model.end(), [](const Task* other) { return other->overdue; });
    REQUIRE(list.first_overdue() == (overdue == model.end() ? nullptr : *overdue));
  }
}
