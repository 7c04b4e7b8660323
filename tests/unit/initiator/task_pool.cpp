#include "gateway/initiator/task_pool.hpp"

#include <doctest/doctest.h>

#include <set>
#include <vector>

using namespace nbdgw::initiator;

TEST_CASE("task pool: management keeps its share") {
  CHECK(TaskPool::management_tasks(1) == 15);
  CHECK(TaskPool::management_tasks(6) == 15);
  CHECK(TaskPool::management_tasks(32) == 66);
  TaskPool pool(3, 20);
  CHECK(pool.size() == 3 + TaskPool::management_tasks(20));
  std::vector<Task*> tasks;
  while (Task* task = pool.alloc(TaskKind::scsi)) tasks.push_back(task);
  CHECK(tasks.size() == 3);
  CHECK_FALSE(pool.scsi_available());
  while (Task* task = pool.alloc(TaskKind::nop)) tasks.push_back(task);
  CHECK(tasks.size() == pool.size());
  CHECK(pool.in_use() == pool.size());
  CHECK(std::set<Task*>(tasks.begin(), tasks.end()).size() == tasks.size());
  for (Task* task : tasks) pool.free(*task);
  CHECK(pool.in_use() == 0);
  CHECK(pool.scsi_available());
}

TEST_CASE("task pool: a tag names one use of a task, in one age") {
  TaskPool pool(1, 1);
  std::set<std::uint32_t> seen;
  const std::uint32_t generations = TaskPool::kGenerationMask + 1;
  for (std::uint32_t i = 0; i < generations; ++i) {
    Task& task = *pool.alloc(TaskKind::scsi);
    CHECK(task.itt != nbdgw::proto::iscsi::kReservedTag);
    REQUIRE(seen.insert(task.itt).second);
    REQUIRE(pool.itt_to_task(task.itt) == &task);
    pool.free(task);
    REQUIRE(pool.itt_to_task(task.itt) == nullptr);
  }
  Task& task = *pool.alloc(TaskKind::scsi);
  CHECK_FALSE(seen.insert(task.itt).second);  // the generations begin anew
  const std::uint32_t before = task.itt;
  pool.free(task);
  pool.advance_age();
  for (std::uint32_t i = 0; i < generations; ++i) {
    Task& again = *pool.alloc(TaskKind::scsi);
    REQUIRE(again.itt != before);
    REQUIRE(pool.itt_to_task(before) == nullptr);
    pool.free(again);
  }
  for (int i = 0; i < 15; ++i) pool.advance_age();
  CHECK(pool.age() == 0);
}

TEST_CASE("task pool: what is no tag of ours") {
  TaskPool pool(TaskPool::kMaxScsiTasks, 1);
  Task& nop = *pool.alloc(TaskKind::nop);
  CHECK(pool.itt_to_task(nop.itt) == &nop);
  CHECK(pool.itt_to_ctask(nop.itt) == nullptr);  // not a SCSI task
  CHECK(pool.itt_to_task(0xffffffff) == nullptr);
  CHECK(pool.itt_to_task(nop.itt + 1) == nullptr);                     // free
  CHECK(pool.itt_to_task(nop.itt | TaskPool::kIndexMask) == nullptr);  // beyond the pool
  CHECK(pool.itt_to_task(nop.itt ^ (1U << TaskPool::kAgeShift)) == nullptr);
  CHECK(pool.itt_to_task(nop.itt ^ (1U << TaskPool::kIndexBits)) == nullptr);
  nop.state = TaskState::completed;  // over, but not free yet: its data is still in a send queue
  CHECK(pool.itt_to_task(nop.itt) == nullptr);
}

TEST_CASE("task pool: a late answer is known until its status came, its tag is in use again, or the age is another") {
  TaskPool pool(1, 1);
  Task* task = pool.alloc(TaskKind::scsi);
  const std::uint32_t itt = task->itt;
  CHECK_FALSE(pool.is_late_answer(itt));
  pool.expect_late_answer(*task);
  CHECK_FALSE(pool.is_late_answer(itt));  // it still runs
  task->state = TaskState::abrt_tmf;
  CHECK(pool.is_late_answer(itt));  // over, but its data is still in a send queue
  pool.free(*task);
  CHECK(pool.is_late_answer(itt));
  CHECK_FALSE(pool.is_late_answer(itt ^ (1U << TaskPool::kIndexBits)));
  CHECK_FALSE(pool.is_late_answer(itt ^ (1U << TaskPool::kAgeShift)));
  CHECK_FALSE(pool.is_late_answer(nbdgw::proto::iscsi::kReservedTag));
  SUBCASE("its status came") {
    pool.late_answer_came(itt);
    CHECK_FALSE(pool.is_late_answer(itt));
  }
  SUBCASE("its place was taken again and again, by tasks that ended like that, too") {
    for (std::size_t i = 1; i < TaskPool::kMostLate; ++i) {
      task = pool.alloc(TaskKind::scsi);
      REQUIRE((task->itt & TaskPool::kIndexMask) == (itt & TaskPool::kIndexMask));
      pool.expect_late_answer(*task);
      task->state = TaskState::abrt_tmf;
      pool.free(*task);
    }
    CHECK(pool.is_late_answer(itt));
    CHECK(pool.is_late_answer(task->itt));
    pool.late_answer_came(task->itt);
    CHECK(pool.is_late_answer(itt));
  }
  SUBCASE("the generations went round") {
    for (std::uint32_t i = 0; i < TaskPool::kGenerationMask; ++i) {
      task = pool.alloc(TaskKind::scsi);
      REQUIRE(task->itt != itt);
      pool.free(*task);
    }
    CHECK(pool.is_late_answer(itt));
    task = pool.alloc(TaskKind::scsi);
    REQUIRE(task->itt == itt);
    CHECK_FALSE(pool.is_late_answer(itt));
    pool.free(*task);
  }
  SUBCASE("sixteen logins later the ages went round") {
    for (int i = 0; i < 16; ++i) pool.advance_age();
    CHECK(pool.age() == 0);
    CHECK_FALSE(pool.is_late_answer(itt));
  }
}

TEST_CASE("task pool: grows while tasks are out; they stay where they are, and management keeps its share") {
  TaskPool pool(2, 1);
  Task* const first = pool.alloc(TaskKind::scsi);
  Task* const second = pool.alloc(TaskKind::scsi);
  CHECK(pool.alloc(TaskKind::scsi) == nullptr);
  pool.grow(1);  // never fewer
  CHECK(pool.size() == 2 + TaskPool::kManagementTasks);
  pool.grow(TaskPool::kMaxScsiTasks);
  CHECK(pool.size() == TaskPool::kMaxScsiTasks + TaskPool::kManagementTasks);
  CHECK(pool.in_use() == 2);
  CHECK(pool.itt_to_task(first->itt) == first);
  CHECK(pool.itt_to_task(second->itt) == second);
  for (int i = 2; i < TaskPool::kMaxScsiTasks; ++i) REQUIRE(pool.alloc(TaskKind::scsi) != nullptr);
  CHECK(pool.alloc(TaskKind::scsi) == nullptr);
  Task* const nop = pool.alloc(TaskKind::nop);
  REQUIRE(nop != nullptr);
  CHECK(pool.itt_to_task(nop->itt) == nop);
}
