#pragma once

#include "gateway/initiator/proof.hpp"

namespace nbdgw::initiator {

/// Proofs for what stands in for a session in the tests.
struct ProofMaker {
  static Proof make(Proof::Kind kind) { return Proof(kind); }
};

}  // namespace nbdgw::initiator
